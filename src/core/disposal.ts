/**
 * `Symbol.asyncDispose` where the realm has none: Node 20 gives it to its main one only, while some test runners have each test
 * file in another. It is Node's own, so that what Node opens is given back too.
 */
import { Readable } from 'node:stream';

if ((Symbol.asyncDispose as symbol | undefined) === undefined) {
  const own = Object.getOwnPropertySymbols(Readable.prototype);
  const value = own.find(({ description }) => description?.endsWith('asyncDispose'));
  Object.defineProperty(Symbol, 'asyncDispose', { value });
}
