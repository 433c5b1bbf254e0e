/** Writes down every order that was answered 201, one id a line, durable before the replay counts it. */
import { type FileHandle, open } from "node:fs/promises";

export class AcknowledgedFile {
  readonly #file: FileHandle;
  #waiting: { line: string; written: () => void; failed: (err: unknown) => void }[] = [];
  #writing = false;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  static async open(file: string): Promise<AcknowledgedFile> {
    return new AcknowledgedFile(await open(file, "a"));
  }

  /** Resolves when the id is on disk. Ids that come while the disk is busy share the next fsync. */
  add(orderId: string): Promise<void> {
    return new Promise((written, failed) => {
      this.#waiting.push({ line: `${orderId}\n`, written, failed });
      if (!this.#writing) void this.#write();
    });
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async #write(): Promise<void> {
    this.#writing = true;
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        await this.#file.appendFile(batch.map(({ line }) => line).join(""));
        await this.#file.datasync();
        for (const { written } of batch) written();
      } catch (err) {
        for (const { failed } of batch) failed(err);
      }
    }
    this.#writing = false;
  }
}
