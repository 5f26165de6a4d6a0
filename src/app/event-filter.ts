/**
 * Which events a reader gets: docker's filters, with docker's meaning, `image=` and `container=` included, which
 * also fit events about something else. Names that nobody knows filter nothing, as in dockerd.
 * Mirrors `moby/moby: daemon/events/filter.go` at v20.10.
 */
import { parseReference } from '../core/reference.ts';
import type { ApiEvent } from './api-event.ts';

/** Those of docker's client; some are of objects that are never here. */
export const EVENT_FILTERS = [
  ...['type', 'event', 'image', 'container', 'label', 'scope', 'daemon', 'network', 'node', 'plugin'],
  ...['service', 'secret', 'config', 'volume'],
];

/** The values of each filter. */
export type FilterValues = ReadonlyMap<string, readonly string[]>;

/** Kinds of object whose filter takes a name or the beginning of an id; only containers ever are here. */
const OBJECTS = ['container', 'daemon', 'plugin', 'volume', 'network', 'node', 'service', 'secret', 'config'];

/** Actions with arguments behind a colon, of which the beginning is enough. */
const WITH_ARGUMENTS = ['health_status', 'exec_create', 'exec_start'];

export class EventFilter {
  readonly #values: FilterValues;

  constructor(values: FilterValues) {
    this.#values = values;
  }

  matches(event: ApiEvent): boolean {
    const { ID, Attributes } = event.Actor;
    return (
      this.#matchesAction(event.Action) &&
      this.#is('type', event.Type) &&
      this.#is('scope', event.scope) &&
      OBJECTS.every((kind) => this.#begins(kind, ID) || this.#begins(kind, Attributes['name'] ?? '')) &&
      this.#matchesImage(event) &&
      this.#matchesLabels(Attributes)
    );
  }

  #matchesAction(action: string): boolean {
    const wanted = this.#of('event');
    if (WITH_ARGUMENTS.some((name) => wanted.includes(name))) return this.#begins('event', action);
    return this.#is('event', action);
  }

  /** The image itself, or a container of it; with its tag or without. */
  #matchesImage({ Type, Actor: { ID, Attributes } }: ApiEvent): boolean {
    const name = Attributes[Type === 'image' ? 'name' : 'image'] ?? '';
    return [ID, name, withoutTag(ID), withoutTag(name)].some((text) => this.#is('image', text));
  }

  /** All of them, and not any: `label=a` and `label=b=c`. */
  #matchesLabels(attributes: Readonly<Record<string, string>>): boolean {
    return this.#of('label').every((label) => {
      const [name = '', ...value] = label.split('=');
      if (!Object.hasOwn(attributes, name)) return false;
      return value.length === 0 || attributes[name] === value.join('=');
    });
  }

  #is(filter: string, text: string): boolean {
    const wanted = this.#of(filter);
    return wanted.length === 0 || wanted.includes(text);
  }

  #begins(filter: string, text: string): boolean {
    const wanted = this.#of(filter);
    return wanted.length === 0 || wanted.some((prefix) => text.startsWith(prefix));
  }

  #of(filter: string): readonly string[] {
    return this.#values.get(filter) ?? [];
  }
}

function withoutTag(text: string): string {
  try {
    return parseReference(text).repository;
  } catch {
    return text;
  }
}
