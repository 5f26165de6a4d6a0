/**
 * Builds an image from a Dockerfile. A stage is built when another one, or the caller, needs it; stages that
 * do not need each other are built at the same time. The first failure ends the others.
 */
import { LayerstackError } from '../core/errors.ts';
import { hostPlatform, parseKnownPlatform, type Platform } from '../core/platform.ts';
import { formatReference, type Reference } from '../core/reference.ts';
import { parseDockerfile, type Dockerfile, type DockerfileInstruction } from '../dockerfile/parse.ts';
import type { ImageConfig } from '../image/config.ts';
import { BuildArgs } from './args.ts';
import { BaseImages, type PullImage } from './bases.ts';
import { StageCache } from './cache.ts';
import { openContext, type BuildContext } from './context/context.ts';
import type { CopySource } from './copy-step.ts';
import { explainIn, placed } from './errors.ts';
import { shortId } from './names.ts';
import type { BuildOptions, BuildResult, BuildSource } from './options.ts';
import { OrderedOutput } from './output.ts';
import { findTarget, neededBy, planStages, stageBefore, type StagePlan } from './plan.ts';
import { squash } from './squash.ts';
import { Stage } from './stage.ts';
import { BuildTools, type BuildStores } from './tools.ts';

const DOCKERFILE = 'Dockerfile';

/**
 * Builds the image, and names it. The image and its contents are durable on return. After an error the images
 * of the steps that were made stay: they are the cache of the next build.
 * @throws {@link LayerstackError} ERR_DOCKERFILE_INVALID with file, line and caret; ERR_RUN_FAILED; the
 * errors   of opening the context, copying, pulling, running and committing, with file and line; ERR_ABORTED.
 */
export async function build(
  stores: BuildStores,
  source: BuildSource,
  options: BuildOptions & { readonly names: readonly Reference[] },
  pull: PullImage,
): Promise<BuildResult> {
  const { signal, onProgress, dockerfile = DOCKERFILE } = options;
  stores.root.session();
  const stop = new AbortController();
  const either = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  await using tools = await BuildTools.make(stores, options, either);
  await using context = await openContext(
    typeof source === 'string' ? { directory: source } : { tar: source },
    { root: stores.root, dockerfile, signal: either, onProgress },
  );
  const text = options.dockerfileText ?? (await context.readDockerfile(dockerfile));
  try {
    const run = new BuildRun(tools, { context, file: parseDockerfile(text), pull, stop });
    return await run.build(options.names);
  } catch (error) {
    throw explainIn({ name: dockerfile, text }, error);
  }
}

interface BuildInput {
  readonly context: BuildContext;
  readonly file: Dockerfile;
  readonly pull: PullImage;
  /** Ends the stages that are being built. */
  readonly stop: AbortController;
}

/** The image of a stage, and the image that it begins with. Each is undefined for `scratch`. */
interface StageResult {
  readonly image: ImageConfig | undefined;
  readonly base: ImageConfig | undefined;
}

class BuildRun {
  readonly #tools: BuildTools;
  readonly #input: BuildInput;
  readonly #args: BuildArgs;
  readonly #platform: Platform;
  readonly #stages: readonly StagePlan[];
  readonly #target: StagePlan;
  readonly #bases: BaseImages;
  readonly #output: OrderedOutput;
  readonly #results = new Map<number, Promise<StageResult>>();
  readonly #steps: ReadonlyMap<DockerfileInstruction, string>;
  #sources: Promise<ImageConfig[]> | undefined;

  constructor(tools: BuildTools, input: BuildInput) {
    const { options } = tools;
    this.#tools = tools;
    this.#input = input;
    refuseSyntax(input.file);
    const host = hostPlatform();
    this.#platform = options.platform === undefined ? host : parseKnownPlatform(options.platform);
    this.#args = new BuildArgs(options.buildArgs ?? {}, this.#platform, host);
    this.#stages = withLabels(planStages(input.file, this.#args), options.labels ?? {}, options.target);
    this.#target = findTarget(this.#stages, options.target);
    this.#bases = new BaseImages(tools.images, input.pull, options.pull === true);
    this.#output = new OrderedOutput(this.#stages.length, (text) =>
      options.onProgress?.({ type: 'stream', text }),
    );
    const needed = neededBy(this.#target, this.#stages);
    this.#steps = numberSteps(this.#stages.filter(({ index }) => needed.has(index)));
    for (const { index } of this.#stages) if (!needed.has(index)) this.#output.end(index);
  }

  async build(names: readonly Reference[]): Promise<BuildResult> {
    const { images, options, signal } = this.#tools;
    const { image, base } = await this.#finish(this.#stage(this.#target.index));
    if (image === undefined)
      throw new LayerstackError(
        'ERR_DOCKERFILE_INVALID',
        'No image was generated. The Dockerfile has only FROM scratch',
      );
    const result = options.squash === true ? await squash(this.#tools, image, base) : image;
    const changes = names.map((reference) => ({ reference, id: result.id }));
    if (changes.length > 0) await images.add([], changes, { signal, dated: true });
    const tags = names.map(formatReference);
    const warnings = this.#warnings();
    this.#say(warnings.map((line) => `[Warning] ${line}`));
    options.onProgress?.({ type: 'built', id: result.id });
    this.#say([
      `Successfully built ${shortId(result.id)}`,
      ...tags.map((tag) => `Successfully tagged ${tag}`),
    ]);
    return { imageId: result.id, tags, warnings };
  }

  /** Waits for a stage. After a failure, all other stages end before the call does. */
  async #finish(result: Promise<StageResult>): Promise<StageResult> {
    try {
      return await result;
    } catch (error) {
      this.#input.stop.abort(error);
      await Promise.allSettled(this.#results.values());
      throw error;
    } finally {
      this.#output.flush();
    }
  }

  #warnings(): string[] {
    const unused = this.#args.unused();
    if (unused.length === 0) return [];
    return [`One or more build-args [${unused.join(' ')}] were not consumed`];
  }

  #say(lines: readonly string[]): void {
    for (const line of lines) this.#tools.options.onProgress?.({ type: 'stream', text: `${line}\n` });
  }

  /** Returns the result of a stage, which is built once. */
  #stage(index: number): Promise<StageResult> {
    const known = this.#results.get(index);
    if (known !== undefined) return known;
    const plan = this.#stages[index];
    if (plan === undefined) throw new RangeError(`stage ${index} does not exist`);
    const result = this.#buildStage(plan).finally(() => this.#output.end(index));
    // A stage may fail before the one that needs it waits for it.
    result.catch((error: unknown) => this.#input.stop.abort(error));
    this.#results.set(index, result);
    return result;
  }

  async #buildStage(plan: StagePlan): Promise<StageResult> {
    await Promise.all([...plan.needs].map((index) => this.#stage(index)));
    const { options, images } = this.#tools;
    const write = (text: string): void => this.#output.write(plan.index, text);
    const announce = (instruction: DockerfileInstruction): void =>
      write(`${this.#steps.get(instruction) ?? ''} : ${instruction.line.trim()}\n`);
    announce(plan.from);
    const base = await placed(plan.from.at, () => this.#base(plan));
    if (base !== undefined) write(` ---> ${shortId(base.id)}\n`);
    const cache = new StageCache(images, {
      enabled: options.noCache !== true,
      sources: await this.#cacheSources(),
    });
    const stage = new Stage(this.#tools, {
      ...{ image: base, platform: this.#platform, args: this.#args.stage(), cache },
      escape: this.#input.file.escape,
      name: plan.name === undefined ? `build stage ${plan.index}` : `build stage ${plan.name}`,
      print: write,
      announce,
      source: (from) => this.#source(plan, from, false),
      shared: async (from) => (await this.#source(plan, from, true)).directory,
    });
    return { image: await stage.build(plan.from, plan.instructions), base };
  }

  async #base({ base, platform }: StagePlan): Promise<ImageConfig | undefined> {
    if (typeof base !== 'string') return (await this.#stage(base.index)).image;
    if (base === 'scratch') return undefined;
    return this.#bases.find(base, platform ?? this.#tools.options.platform);
  }

  async #source(plan: StagePlan, from: string | undefined, isShared: boolean): Promise<CopySource> {
    const { context } = this.#input;
    if (from === undefined) return { directory: context.root, ignore: context.ignore };
    const stage = stageBefore(this.#stages.slice(0, plan.index), plan.name, from);
    const image =
      stage === undefined
        ? await this.#bases.find(from, this.#tools.options.platform)
        : (await this.#stage(stage.index)).image;
    const { roots } = this.#tools;
    return { directory: await (isShared ? roots.sharedPath(image) : roots.path(image)) };
  }

  #cacheSources(): Promise<ImageConfig[]> {
    const { images, options } = this.#tools;
    this.#sources ??= Promise.all(
      (options.cacheFrom ?? []).map(async (name) => images.get(await images.resolve(name))),
    );
    return this.#sources;
  }
}

/** Other frontends have another grammar. */
function refuseSyntax({ syntax }: Dockerfile): void {
  if (syntax === undefined || /^(?:docker\.io\/)?docker\/dockerfile(?:-upstream)?(?:[:@].*)?$/.test(syntax))
    return;
  throw new LayerstackError(
    'ERR_UNSUPPORTED',
    `# syntax=${syntax}: other frontends than docker/dockerfile are not supported`,
    { key: 'syntax' },
  );
}

/** Appends the labels of the caller to the target, as one instruction. */
function withLabels(
  stages: readonly StagePlan[],
  labels: Readonly<Record<string, string>>,
  target: string | undefined,
): StagePlan[] {
  const names = Object.keys(labels).sort();
  if (names.length === 0) return [...stages];
  const { index } = findTarget(stages, target);
  const words = names.map((name) => `${literal(name)}=${literal(labels[name] ?? '')}`);
  return stages.map((stage) => {
    if (stage.index !== index) return stage;
    const label: DockerfileInstruction = {
      ...{ name: 'LABEL', flags: [], heredocs: [], at: stage.from.at },
      ...{ rest: words.join(' '), line: `LABEL ${words.join(' ')}` },
    };
    return { ...stage, instructions: [...stage.instructions, label] };
  });
}

/** Returns a word that stands for the text as it is. */
function literal(text: string): string {
  return `'${text.replaceAll("'", `'"'"'`)}'`;
}

function numberSteps(stages: readonly StagePlan[]): Map<DockerfileInstruction, string> {
  const all = stages.flatMap(({ from, instructions }) => [from, ...instructions]);
  return new Map(all.map((instruction, at) => [instruction, `Step ${at + 1}/${all.length}`]));
}
