// Runs its files one after the other. Jest takes one runner after the other, so nothing runs beside them.
const { default: Runner } = require("jest-runner");

module.exports = class extends Runner {
  isSerial = true;
};
