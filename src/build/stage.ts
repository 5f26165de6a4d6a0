/**
 * Builds one stage: applies its instructions in order, each on the image of the one before. Mirrors
 * `moby/moby: builder/dockerfile/{dispatchers,evaluator}.go` at v20.10.
 */
import { shortId } from './names.ts';
import type { Platform } from '../core/platform.ts';
import { applyInstruction, variablesOf, type InstructionState } from '../dockerfile/instructions.ts';
import { parseDockerfile, type DockerfileInstruction } from '../dockerfile/parse.ts';
import { expandWord, type Escape } from '../dockerfile/words.ts';
import { WordError } from '../dockerfile/word-error.ts';
import type { ContainerConfig } from '../image/container-config.ts';
import { EMPTY_CONTAINER_CONFIG } from '../image/container-config.ts';
import type { ImageConfig } from '../image/config.ts';
import type { NewImage } from '../image/store.ts';
import { newOverlayId } from '../layer/overlay.ts';
import type { StageArgs } from './args.ts';
import type { StageCache } from './cache.ts';
import { prepareCopy } from './context/copy.ts';
import { copyComment, copyRequest, type CopySource } from './copy-step.ts';
import { parseCopy } from './copy-instruction.ts';
import { placed } from './errors.ts';
import { checkInstruction, declarations } from './plan.ts';
import { parseRun, runCommand } from './run-instruction.ts';
import { lockCaches, mountKeys, mountRequests, type MountSources } from './run-mounts.ts';
import { runScript } from './run-script.ts';
import { runStep } from './run-step.ts';
import { commented, commitStep, stepImage, type StepFacts } from './step-image.ts';
import { StepLayer } from './step-layer.ts';
import type { BuildTools } from './tools.ts';

/** What a stage begins with. */
export interface StageStart {
  /** Undefined for `scratch`. */
  readonly image: ImageConfig | undefined;
  readonly platform: Platform;
  readonly args: StageArgs;
  readonly cache: StageCache;
  readonly escape: Escape;
  /** In messages, e.g. `stage 2`. */
  readonly name: string;
  readonly print: (text: string) => void;
  /** Prints `Step 1/3 : RUN make`. */
  readonly announce: (instruction: DockerfileInstruction) => void;
  /** Returns the files of an earlier stage or an image; of the context without a name. */
  source(from: string | undefined): Promise<CopySource>;
  /** Does the same for a path that a runtime can read. */
  shared(from: string | undefined): Promise<string>;
}

/** The path that docker sets where an image has none. */
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const NOP = '#(nop) ';
/** Each pending image has a whole config, so their number is bounded. */
const MAX_PENDING = 32;

export class Stage {
  readonly #tools: BuildTools;
  readonly #start: StageStart;
  #image: ImageConfig | undefined;
  #config: ContainerConfig;
  #author = '';
  #cmdSet = false;
  /** Images of steps without files, which the next one with files adds to the store. */
  #pending: NewImage[] = [];

  constructor(tools: BuildTools, start: StageStart) {
    this.#tools = tools;
    this.#start = start;
    this.#image = start.image;
    const config = start.image?.config ?? EMPTY_CONTAINER_CONFIG;
    this.#config = withPath({
      ...config,
      ...{ OpenStdin: false, StdinOnce: false, OnBuild: null, Image: start.image?.id ?? '' },
    });
  }

  /** Applies the triggers of the base, then the instructions. Returns the last image, which is durable. */
  async build(
    from: DockerfileInstruction,
    instructions: readonly DockerfileInstruction[],
  ): Promise<ImageConfig | undefined> {
    await placed(from.at, () => this.#triggers());
    for (const instruction of instructions) {
      this.#start.announce(instruction);
      await placed(instruction.at, () => this.#dispatch(instruction));
    }
    await this.#store();
    return this.#image;
  }

  async #triggers(): Promise<void> {
    const triggers = this.#start.image?.config.OnBuild ?? [];
    if (triggers.length === 0) return;
    const words = triggers.length === 1 ? 'trigger' : 'triggers';
    this.#start.print(`# Executing ${triggers.length} build ${words}\n`);
    for (const trigger of triggers)
      for (const instruction of parseDockerfile(trigger).instructions) {
        if (['ONBUILD', 'FROM', 'MAINTAINER'].includes(instruction.name))
          throw new WordError(`${instruction.name} is not allowed as a trigger`);
        checkInstruction(instruction);
        await this.#dispatch(instruction);
      }
  }

  async #dispatch(instruction: DockerfileInstruction): Promise<void> {
    const { name } = instruction;
    if (name === 'RUN') await this.#run(instruction);
    else if (name === 'COPY' || name === 'ADD') await this.#copy(instruction);
    else if (name === 'ARG') await this.#arg(instruction);
    else if (name === 'MAINTAINER') {
      this.#author = instruction.rest;
      await this.#note(`MAINTAINER ${instruction.rest}`);
    } else await this.#change(instruction);
    this.#config = { ...this.#config, Image: this.#image?.id ?? '' };
    if (this.#image !== undefined) this.#start.print(` ---> ${shortId(this.#image.id)}\n`);
  }

  get #args(): ReadonlyMap<string, string> {
    return this.#start.args.values(this.#config.Env ?? []);
  }

  #state(): InstructionState {
    const { escape, args } = this.#start;
    return { escape, budget: args.budget, cmdSet: this.#cmdSet, args: this.#args };
  }

  async #change(instruction: DockerfileInstruction): Promise<void> {
    const state = this.#state();
    const { change, comment } = applyInstruction(instruction, this.#config, state);
    this.#cmdSet = state.cmdSet;
    this.#config = { ...this.#config, ...change };
    if (instruction.name === 'WORKDIR') await this.#workDir(comment);
    else await this.#note(comment);
  }

  async #arg(instruction: DockerfileInstruction): Promise<void> {
    const { escape, args } = this.#start;
    const words: string[] = [];
    for (const [name, written] of declarations(instruction, escape)) {
      const variables = variablesOf(this.#config, { args: this.#args });
      const value = written && expandWord(written, { variables, escape, budget: args.budget });
      args.declare(name, value);
      words.push(value === undefined ? name : `${name}=${value}`);
    }
    await this.#note(`ARG ${words.join(' ')}`);
  }

  /** Makes the image of an instruction that changes no files. */
  async #note(comment: string): Promise<void> {
    const step = commented(this.#config, [NOP, comment]);
    if (await this.#cached(step)) return;
    const config = stepImage(this.#facts(step));
    const { sourceDateEpoch } = this.#tools.options;
    this.#pending.push({ config, parent: this.#image?.id, built: { sourceDateEpoch } });
    this.#image = config;
    if (this.#pending.length >= MAX_PENDING) await this.#store();
  }

  /** Adds the pending images to the store. */
  async #store(): Promise<void> {
    if (this.#pending.length === 0) return;
    await this.#tools.images.add(this.#pending, [], { signal: this.#tools.signal });
    await this.#start.cache.note(this.#pending);
    this.#pending = [];
  }

  async #workDir(comment: string): Promise<void> {
    const step = commented(this.#config, [`${NOP}${comment}`]);
    if (await this.#cached(step)) return;
    await this.#tools.step(async () => {
      await using layer = await this.#layer(this.#config.WorkingDir);
      await this.#commit(layer, step);
    });
  }

  async #copy(instruction: DockerfileInstruction): Promise<void> {
    const { root, signal, roots, settings, onProgress } = this.#tools;
    const copy = parseCopy(instruction);
    const source = await this.#start.source(copy.from);
    const request = await copyRequest(copy, source, {
      config: this.#config,
      variables: variablesOf(this.#config, { args: this.#args }),
      ...{ escape: this.#start.escape, budget: this.#start.args.budget },
      rootfs: () => roots.path(this.#image),
    });
    await using prepared = await prepareCopy(request, { root, signal, settings, onProgress });
    const step = commented(this.#config, [`${NOP}${copyComment(copy, request, prepared.digest)}`]);
    if (await this.#cached(step)) return;
    await this.#tools.step(async () => {
      await using layer = await this.#layer();
      await prepared.apply(await layer.open());
      await this.#commit(layer, step);
    });
  }

  async #run(instruction: DockerfileInstruction): Promise<void> {
    const { root, signal, settings } = this.#tools;
    const { args } = this.#start;
    const run = parseRun(instruction);
    if (run.network === 'host' && this.#tools.options.network !== 'host')
      throw new WordError(
        'RUN --network=host: only the caller may open the network of the host: build with --network host',
      );
    const values = args.values(this.#config.Env ?? []);
    const command = runCommand(instruction, this.#config.Shell);
    const sources: MountSources = {
      ...{ root, signal, settings, secrets: this.#tools.options.secrets ?? {} },
      directory: (from) => this.#start.shared(from),
    };
    const key = [
      ...args.keyed(values).map(([name, value]) => `${name}=${value}`),
      ...(await mountKeys(run.mounts, sources)),
      ...(run.network === undefined ? [] : [`--network=${run.network}`]),
    ];
    const saved = key.length === 0 ? command : [`|${key.length}`, ...key, ...command];
    const step = { ...this.#config, Cmd: saved, Entrypoint: null };
    if (await this.#cached(step)) return;
    const id = newOverlayId();
    const mounts = await mountRequests(run.mounts, this.#config.WorkingDir || '/', sources);
    const environment = [...values].map(([name, value]) => `${name}=${value}`);
    await using script = await runScript(instruction, this.#config.Shell, root);
    await using _caches = await lockCaches(run.mounts, sources);
    this.#start.print(` ---> Running in ${shortId(id)}\n`);
    const stepRun = {
      ...{ id, owner: this.#start.name, image: this.#image, signal },
      mounts: script === undefined ? mounts : [...mounts, script.mount],
      config: {
        ...this.#config,
        Cmd: script?.command ?? command,
        Env: [...(this.#config.Env ?? []), ...environment],
      },
      host: this.#tools.hostSettings(run.network),
      runtime: this.#tools.runtime(),
      print: this.#start.print,
      drained: this.#tools.options.drained,
    };
    await this.#tools.step(() => runStep(this.#tools, stepRun, (layer) => this.#commit(layer, step)));
    this.#start.print(`Removing intermediate container ${shortId(id)}\n`);
  }

  #layer(directory?: string): Promise<StepLayer> {
    const { signal } = this.#tools;
    const { name: owner } = this.#start;
    return StepLayer.make(this.#tools, {
      ...{ id: newOverlayId(), owner, image: this.#image, runs: false, signal, directory },
    });
  }

  /** Takes the image of a step from the cache, if it is there. */
  async #cached(step: ContainerConfig): Promise<boolean> {
    const found = await this.#start.cache.find(this.#image, step);
    if (found === undefined) return false;
    this.#start.print(' ---> Using cache\n');
    this.#image = found;
    return true;
  }

  async #commit(layer: StepLayer, step: ContainerConfig): Promise<void> {
    const { signal, onProgress } = this.#tools;
    const upper = { directory: layer.upper, name: `of ${this.#start.name}`, signal, onProgress };
    const parent = this.#image?.id;
    const image = await commitStep(this.#tools, this.#facts(step), upper, this.#pending);
    await this.#start.cache.note([...this.#pending, { config: image, parent }]);
    this.#pending = [];
    this.#image = image;
  }

  #facts(step: ContainerConfig): StepFacts {
    return {
      ...{ parent: this.#image, platform: this.#start.platform, author: this.#author },
      ...{ config: this.#config, step, sourceDateEpoch: this.#tools.options.sourceDateEpoch },
    };
  }
}

function withPath(config: ContainerConfig): ContainerConfig {
  const env = config.Env ?? [];
  if (env.some((entry) => entry.startsWith('PATH='))) return config;
  return { ...config, Env: [...env, `PATH=${DEFAULT_PATH}`] };
}
