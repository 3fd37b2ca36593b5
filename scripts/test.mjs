// Runs the tests and ends with one plain line, `N passed, N failed, N skipped`, for people and for scripts.
//   node scripts/test.mjs [--slow] [vitest's own arguments]
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "stylizing-vit-test-"));
const report = join(folder, "report.json");
const given = process.argv.slice(2);
const slow = given.includes("--slow");

const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
const args = [
  "run",
  "--reporter=default",
  "--reporter=json",
  `--outputFile.json=${report}`,
  ...given.filter((flag) => flag !== "--slow"),
];
const { status, signal } = spawnSync(process.execPath, [vitest, ...args], {
  cwd: root,
  stdio: "inherit",
  env: { ...process.env, ...(slow ? { SLOW_TESTS: "1" } : {}) },
});

let code = status ?? 1;
try {
  const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, numFailedTestSuites, testResults } = JSON.parse(
    readFileSync(report, "utf8"),
  );
  const skipped = testResults.flatMap((file) =>
    file.assertionResults.filter((test) => test.status === "pending" || test.status === "skipped"),
  );
  for (const test of skipped) process.stdout.write(`skipped: ${test.fullName}\n`);
  // A file that does not even load has no tests to fail.
  const broken = testResults.filter((file) => file.status === "failed" && file.assertionResults.length === 0).length;
  const failed = numFailedTests + broken;
  if (failed === 0 && numFailedTestSuites > 0)
    process.stdout.write(`${numFailedTestSuites} test files failed outside their tests\n`);
  process.stdout.write(`${numPassedTests} passed, ${failed} failed, ${numPendingTests + numTodoTests} skipped\n`);
  if (failed > 0 || numPassedTests === 0) code ||= 1;
} catch (error) {
  process.stdout.write(`no report from the test runner (${signal ?? error.message})\n0 passed, 1 failed\n`);
  code ||= 1;
}
rmSync(folder, { recursive: true, force: true });
process.exitCode = code;
