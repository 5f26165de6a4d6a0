/** `layerstack events`: shows what any process does to the store, as `docker events`. */
import { goJson } from '../../../core/go-json.ts';
import { TYPE } from '../../../core/template/values.ts';
import { toApiEvent, type ApiEvent } from '../../api-event.ts';
import { EVENT_FILTERS } from '../../event-filter.ts';
import { defineCommand, UsageError } from '../command.ts';
import { checkTime } from '../filters.ts';
import { eventLine } from '../event-line.ts';

export const command = defineCommand({
  usage: '[OPTIONS]',
  description:
    'Show what is done to the store as it happens, one line each, until the command is stopped or the time of --until\n' +
    'comes. All processes are included: commands, the service, and programs with the library. What dockerd does on the same\n' +
    'root is not shown. At least the latest mebibyte of past events is kept.',
  options: {
    since: {
      type: 'string',
      value: 'TIME',
      help: 'show past events too, from this time on: 10m, a date, or seconds since 1970',
    },
    until: { type: 'string', value: 'TIME', help: 'end at this time' },
    filter: {
      type: 'string',
      short: 'f',
      multiple: true,
      value: 'NAME=VALUE',
      help: 'show only events that match: type, event, image, container, label',
    },
    format: {
      type: 'string',
      value: 'FORMAT',
      kind: ['json'],
      help: 'json (one document a line), or a Go template such as {{.Action}}',
    },
  },
  operands: { min: 0, max: 0 },
  examples: [
    {
      command: "layerstack events --filter type=container --format '{{.Action}} {{.Actor.Attributes.name}}'",
      does: 'shows what is done to containers',
    },
    { command: 'layerstack events --since 1h --until 0s', does: 'shows what was done in the last hour' },
  ],
  async run(context, { since, until, filter = [], format }) {
    for (const [option, time] of Object.entries({ since, until }))
      if (time !== undefined) checkTime(`--${option}`, time);
    const filters = parseEventFilters(filter);
    const show = await shownAs(format);
    await using store = await context.open({ readOnly: true });
    try {
      for await (const event of store.events({ since, until, filters, signal: context.signal }))
        context.print(...show(toApiEvent(event, event.timeNano)).split('\n'));
    } catch (error) {
      // A signal is the normal end of this command.
      if (!context.signal.aborted) throw error;
    }
  },
});

/** @throws UsageError for a name that docker does not know, or for a filter without a value. */
function parseEventFilters(given: readonly string[]): Record<string, string[]> {
  const filters: Record<string, string[]> = {};
  for (const text of given) {
    const at = text.indexOf('=');
    const name = text.slice(0, Math.max(0, at)).trim().toLowerCase();
    if (!EVENT_FILTERS.includes(name))
      throw new UsageError(
        `--filter ${JSON.stringify(text)}: use type=…, event=…, image=…, container=…, label=…`,
      );
    (filters[name] ??= []).push(text.slice(at + 1).trim());
  }
  return filters;
}

async function shownAs(format: string | undefined): Promise<(event: ApiEvent) => string> {
  if (format === undefined || format === '') return eventLine;
  if (format === 'json' || format === '{{json .}}') return goJson;
  const { documentFormat } = await import('../go-format.ts');
  const show = documentFormat(format);
  return (event) => show(new Message(event) as unknown as Readonly<Record<string, unknown>>);
}

/** The fields of an event that a template can use (moby/moby: api/types/events, Message). */
class Message {
  readonly [TYPE] = 'events.Message';
  readonly Status: string;
  readonly ID: string;
  readonly From: string;
  readonly Type: string;
  readonly Action: string;
  readonly Actor: Readonly<Record<string, unknown>>;
  readonly Scope: string;
  readonly Time: number;
  readonly TimeNano: bigint;
  readonly #event: ApiEvent;

  constructor(event: ApiEvent) {
    const { status, id = '', from = '', Type, Action, Actor, scope, time, timeNano } = event;
    this.#event = event;
    [this.Status, this.ID, this.From, this.Type, this.Action] = [status, id, from, Type, Action];
    this.Actor = {
      ID: Actor.ID,
      Attributes: new Map(Object.entries(Actor.Attributes)),
      [TYPE]: 'events.Actor',
    };
    [this.Scope, this.Time, this.TimeNano] = [scope, time, timeNano];
  }

  /** The keys in JSON differ from the names of the fields in Go. */
  toJSON(): ApiEvent {
    return this.#event;
  }
}
