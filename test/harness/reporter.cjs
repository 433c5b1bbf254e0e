// Writes `N passed, N failed` (and `, N skipped`) to the file that TEST_SUMMARY_FILE names, for .ci/run.
const { writeFileSync } = require("node:fs");

module.exports = class {
  onRunComplete(_contexts, results) {
    const file = process.env.TEST_SUMMARY_FILE;
    if (!file) return;
    // A file that could not run at all has no failed test, and must count all the same.
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
    const skipped = results.numPendingTests + results.numTodoTests;
    const tail = skipped > 0 ? `, ${skipped} skipped` : "";
    writeFileSync(file, `${results.numPassedTests} passed, ${failed} failed${tail}\n`);
  }
};
