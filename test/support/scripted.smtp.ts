/** A mail server that says what a test tells it to, and hears what is said to it: for what mail servers do on bad days. */
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { createInterface } from "node:readline";

/** What the server says to a line that begins so, or one after the other; or it hangs up, or says nothing yet (""). */
export type Script = Readonly<Record<string, string | string[]>>;

export const WELL: Script = {
  EHLO: "250 here",
  MAIL: "250 ok",
  RCPT: "250 ok",
  DATA: "354 go on",
  ".": "250 taken",
  RSET: "250 ok",
  QUIT: "221 bye",
};

export class ScriptedSmtp {
  script: Script = WELL;
  readonly sockets = new Set<Socket>();
  /** Commands of all connections. */
  readonly heard: string[] = [];
  /** Mails that were sent to it, answered or not. */
  readonly mails: string[] = [];
  connections = 0;
  mostAtOnce = 0;
  readonly #server: Server = createServer((socket) => this.#serve(socket));

  async listen(): Promise<string> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }

  #serve(socket: Socket): void {
    this.connections++;
    this.sockets.add(socket);
    this.mostAtOnce = Math.max(this.mostAtOnce, this.sockets.size);
    socket.on("close", () => this.sockets.delete(socket));
    socket.on("error", () => undefined);
    socket.write("220 here\r\n");
    let isBody = false;
    const body: string[] = [];
    const lines = createInterface({ input: socket });
    // It tells of the socket's errors once more.
    lines.on("error", () => undefined);
    lines.on("line", (line) => {
      if (isBody && line !== ".") {
        body.push(line);
        return;
      }
      const command = line.split(" ")[0] as string;
      this.heard.push(command);
      const said = this.script[command];
      const answer = (Array.isArray(said) ? said.shift() : said) ?? "502 what?";
      if (isBody) this.mails.push(body.splice(0).join("\n"));
      isBody = command === "DATA" && /^(354|$)/.test(answer);
      if (answer === "hang up") socket.destroy();
      else if (answer !== "") socket.write(`${answer}\r\n`);
    });
  }
}
