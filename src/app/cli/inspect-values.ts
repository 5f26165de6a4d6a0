/**
 * Turns documents of `inspect` into values of Go for templates. As in docker, some objects are maps, others
 * are structs, and a null is a nil map, pointer or slice (docker/docker: api/types/types.go).
 */
import { Nil } from '../../core/template/values.ts';

const MAPS: ReadonlySet<string> = new Set([
  ...['Labels', 'ExposedPorts', 'Volumes', 'Networks', 'Ports', 'Data', 'PortBindings', 'Tmpfs', 'Sysctls'],
  ...['StorageOpt', 'Annotations', 'DriverOpts'],
]);
const POINTERS: ReadonlySet<string> = new Set([
  ...['Healthcheck', 'Health', 'OomKillDisable', 'PidsLimit', 'Init', 'MemorySwappiness', 'IPAMConfig'],
  ...['StopTimeout', 'Config', 'HostConfig', 'NetworkSettings', 'State'],
]);

export function templateValue(value: unknown, key = '', parent = ''): unknown {
  if (value === null) return new Nil(MAPS.has(key) ? 'map' : POINTERS.has(key) ? 'pointer' : 'slice');
  if (typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map((each) => templateValue(each));
  const entries = Object.entries(value).map(
    ([name, each]) => [name, templateValue(each, name, key)] as const,
  );
  // The Config of a log configuration is a map.
  return MAPS.has(key) || (key === 'Config' && parent === 'LogConfig')
    ? new Map(entries)
    : Object.fromEntries(entries);
}
