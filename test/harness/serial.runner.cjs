// Runs its files one after the other, when the workers have ended: Jest takes one runner after the other.
const { default: Runner } = require("jest-runner");

module.exports = class extends Runner {
  isSerial = true;
};
