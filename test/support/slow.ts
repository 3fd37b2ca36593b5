/**
 * Whether slow tests are run. Where only some cases of a file take long, the file leaves them out without this, and a
 * `NAME.slow.test.ts` beside it imports it.
 */
export const SLOW = process.env.SLOW_TESTS === "1";
