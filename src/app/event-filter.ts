/**
 * Decides which events a reader gets, by docker's filters and with docker's meaning: `image` and `container`
 * also match events about other objects. A filter with an unknown name matches everything, as in dockerd.
 * Mirrors `moby/moby: daemon/events/filter.go` at v20.10.
 */
import { parseReference } from '../core/reference.ts';
import type { ApiEvent } from './api-event.ts';

/** The filters of docker's client. Some are about objects that a store does not have. */
export const EVENT_FILTERS = [
  ...['type', 'event', 'image', 'container', 'label', 'scope', 'daemon', 'network', 'node', 'plugin'],
  ...['service', 'secret', 'config', 'volume'],
];

/** The values of each filter. */
export type FilterValues = ReadonlyMap<string, readonly string[]>;

/** Kinds of object whose filter takes a name or the beginning of an id. A store only has containers. */
const OBJECTS = ['container', 'daemon', 'plugin', 'volume', 'network', 'node', 'service', 'secret', 'config'];

/** Actions with arguments after a colon. For them a filter matches the beginning. */
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

  /**
   * Returns whether the event is about a wanted image, with its tag or without, or about a container of it.
   */
  #matchesImage({ Type, Actor: { ID, Attributes } }: ApiEvent): boolean {
    const name = Attributes[Type === 'image' ? 'name' : 'image'] ?? '';
    return [ID, name, withoutTag(ID), withoutTag(name)].some((text) => this.#is('image', text));
  }

  /** Returns whether all labels match, not just one: `label=a` and `label=b=c`. */
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
