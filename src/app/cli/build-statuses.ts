/** The exit statuses of `build`, which are those of `docker build`. */
import { LayerstackError } from '../../core/errors.ts';
import { UsageError, type ExitStatuses } from './command.ts';

const FAILED = 1;
const WRONG_COMMAND_LINE = 125;

export const BUILD_STATUSES: ExitStatuses = {
  meanings: [
    ['0', 'The image was built.'],
    [String(FAILED), 'The build failed, or a signal stopped it.'],
    [String(WRONG_COMMAND_LINE), 'The command line is wrong.'],
    ['any other', 'The exit status of the command of RUN that failed.'],
  ],
  of(error) {
    if (error instanceof UsageError) return WRONG_COMMAND_LINE;
    const status = LayerstackError.is(error, 'ERR_RUN_FAILED') ? error.found : undefined;
    return typeof status === 'number' && status > 0 && status < 256 ? status : FAILED;
  },
};
