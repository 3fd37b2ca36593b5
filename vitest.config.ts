import { defineConfig } from "vitest/config";

// Dawn dies in worker threads, so every file has a process of its own. Two at a time: a software adapter takes every core
// it finds, and more of them only wait for each other.
export default defineConfig({
  test: {
    pool: "forks",
    setupFiles: ["test/support/equal.ts"],
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
    include: process.env.SLOW_TESTS ? ["test/**/*.slow.test.ts"] : ["test/**/*.test.ts"],
    exclude: process.env.SLOW_TESTS ? [] : ["test/**/*.slow.test.ts"],
  },
});
