/** Jest runs the TypeScript sources as ES modules; npm test sets the Node flag that needs. */
export default {
  testEnvironment: "<rootDir>/test/harness/environment.cjs",
  extensionsToTreatAsEsm: [".ts"],
  moduleFileExtensions: ["ts", "js", "mjs", "cjs", "json", "node"],
  transform: { "\\.ts$": "<rootDir>/test/strip.cjs" },
  testMatch: ["<rootDir>/test/**/*.test.ts"],
  modulePathIgnorePatterns: ["<rootDir>/.data/", "<rootDir>/.tmp/"],
  globalSetup: "<rootDir>/test/harness/setup.mjs",
  globalTeardown: "<rootDir>/test/harness/teardown.mjs",
  reporters: ["default", "<rootDir>/test/harness/reporter.cjs"],
  // Two files at once whatever the machine has: the time-outs of the tests are meant for that load.
  maxWorkers: 2,
  testTimeout: 30_000,
  collectCoverageFrom: ["{lib,config,actors,mixins,services,scripts}/**/*.ts"],
  coverageProvider: "v8",
};
