// Node's own type stripping as a Jest transform. Types become blanks, so lines and columns stay what they are.
const { stripTypeScriptTypes } = require("node:module");

module.exports = { process: (source) => ({ code: stripTypeScriptTypes(source, { mode: "strip" }) }) };
