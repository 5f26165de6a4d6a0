/**
 * Defines `Symbol.asyncDispose` in realms that lack it. Node 20 defines it in its main realm only, while some
 * test runners run each test file in a realm of its own. The symbol is Node's own, so that `await using` also
 * disposes objects that Node has opened.
 */
import { Readable } from 'node:stream';

if ((Symbol.asyncDispose as symbol | undefined) === undefined) {
  const own = Object.getOwnPropertySymbols(Readable.prototype);
  const value = own.find(({ description }) => description?.endsWith('asyncDispose'));
  Object.defineProperty(Symbol, 'asyncDispose', { value });
}
