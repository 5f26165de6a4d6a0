/** Prints, for each failed test, the one command that reruns it. */
import type { Reporter, TestCase, TestModule } from 'vitest/node';

/** Where a test stands: its project, its file, and the names of its suites and of itself. */
export interface TestPlace {
  readonly project: string;
  readonly file: string;
  /** Empty for a file as a whole. */
  readonly names: readonly string[];
}

/** Returns the command line that runs this test and no other of its file. */
export function rerunCommand({ project, file, names }: TestPlace): string {
  const command = `npx vitest run --project ${project} ${quoted(file)}`;
  if (names.length === 0) return command;
  // vitest matches a pattern with the names joined by spaces.
  const pattern = names.join(' ').replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
  return `${command} -t ${quoted(`^${pattern}$`)}`;
}

/** Returns the text as one word of a shell. */
function quoted(text: string): string {
  return /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function namesOf(test: TestCase): string[] {
  const names = [test.name];
  for (let { parent } = test; parent.type === 'suite'; parent = parent.parent) names.unshift(parent.name);
  return names;
}

function placesOf(module: TestModule): TestPlace[] {
  const place = { project: module.project.name, file: module.relativeModuleId };
  const failed = [...module.children.allTests('failed')].map((test) => ({ ...place, names: namesOf(test) }));
  // A file that fails without a failed test has failed outside of its tests.
  return failed.length === 0 && module.state() === 'failed' ? [{ ...place, names: [] }] : failed;
}

export class RerunReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const commands = modules.flatMap(placesOf).map(rerunCommand);
    if (commands.length === 0) return;
    process.stderr.write(`\nTo rerun a failed test:\n${commands.map((line) => `  ${line}\n`).join('')}\n`);
  }
}
