/** Jest runs the TypeScript sources as ES modules; npm test sets the Node flag that needs. */
const project = {
  testEnvironment: "<rootDir>/test/harness/environment.cjs",
  extensionsToTreatAsEsm: [".ts"],
  moduleFileExtensions: ["ts", "js", "mjs", "cjs", "json", "node"],
  transform: { "\\.ts$": "<rootDir>/test/strip.cjs" },
  modulePathIgnorePatterns: ["<rootDir>/.data/", "<rootDir>/.tmp/"],
  globalSetup: "<rootDir>/test/harness/setup.mjs",
  globalTeardown: "<rootDir>/test/harness/teardown.mjs",
};

/** What fails where others take the processors of a shop of many processes. No other file runs beside it. */
const ALONE = "<rootDir>/test/bench/cluster.drill.test.ts";

export default {
  projects: [
    {
      ...project,
      testMatch: ["<rootDir>/test/**/*.test.ts"],
      testPathIgnorePatterns: ["/node_modules/", ALONE],
    },
    { ...project, testMatch: [ALONE], runner: "<rootDir>/test/harness/serial.runner.cjs" },
  ],
  reporters: ["default", "<rootDir>/test/harness/reporter.cjs"],
  // Two files at once whatever the machine has: the time-outs of the tests are meant for that load.
  maxWorkers: 2,
  testTimeout: 30_000,
  collectCoverageFrom: ["{lib,config,actors,mixins,services,scripts}/**/*.ts"],
  coverageProvider: "v8",
};
