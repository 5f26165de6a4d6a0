/** Signals as docker names them (moby/sys: signal/signal_linux.go): `KILL`, `sigkill`, `9`, `RTMIN+3`. */
import { constants } from 'node:os';

const REALTIME = /^RTM(?:IN(?:\+(?:[1-9]|1[0-5]))?|AX(?:-(?:[1-9]|1[0-4]))?)$/;

/** Whether docker takes the text for a signal: a name, with `SIG` or without, or any number but 0. */
export function isSignal(text: string): boolean {
  if (/^-?\d{1,9}$/.test(text)) return Number(text) !== 0;
  const name = text.toUpperCase().replace(/^SIG/, '');
  return name === 'CLD' || Object.hasOwn(constants.signals, `SIG${name}`) || REALTIME.test(name);
}
