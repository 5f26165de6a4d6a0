/** The exit statuses of `run`, which are those of `docker run`. */
import { LayerstackError } from '../../core/errors.ts';
import type { ExitStatuses } from './command.ts';

const NOT_RUN = 125;
const CANNOT_BE_EXECUTED = 126;
const NOT_FOUND = 127;

export const RUN_STATUSES: ExitStatuses = {
  meanings: [
    [
      String(NOT_RUN),
      'COMMAND was not run: the command line is wrong, or the container cannot be made or started.',
    ],
    [String(CANNOT_BE_EXECUTED), 'COMMAND cannot be executed.'],
    [String(NOT_FOUND), 'COMMAND was not found.'],
    ['128 + N', 'The signal N ended COMMAND.'],
    ['any other', 'The exit status of COMMAND.'],
  ],
  of(error) {
    if (LayerstackError.is(error, 'ERR_COMMAND_DENIED')) return CANNOT_BE_EXECUTED;
    return LayerstackError.is(error, 'ERR_COMMAND_NOT_FOUND') ? NOT_FOUND : NOT_RUN;
  },
};
