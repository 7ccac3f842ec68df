// The suite asks one replica after another; what waits for a long poll waits as long as the replicas are told to.
export default {
  test: {
    testTimeout: 30_000,
    reporters: ["default", "json"],
  },
};
