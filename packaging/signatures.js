/**
 * Derives the parameters of the public methods from their TypeScript types. `npm run signatures` writes them
 * to src/app/signatures/, by which the methods check their arguments (src/core/arguments.ts). A test fails
 * where the two differ.
 */
import { writeFile } from 'node:fs/promises';
import { fileURLToPath, URL } from 'node:url';
import ts from 'typescript';

const HOME = fileURLToPath(new URL('..', import.meta.url));
const OUTPUT = `${HOME}src/app/signatures/`;
/**
 * The classes whose methods users of the library call, except the methods marked `@internal`; the file that
 * describes each class; and the name that users write before the dot.
 */
const CLASSES = [
  { name: 'Layerstack', file: 'store.ts', instance: 'store' },
  { name: 'Images', file: 'images.ts', instance: 'store.images' },
  { name: 'Containers', file: 'containers.ts', instance: 'store.containers' },
  { name: 'Registry', file: 'registry.ts', instance: 'store.registry' },
  { name: 'StoreRegistry', file: 'registry.ts', instance: 'store.registry' },
  { name: 'Snapshots', file: 'snapshots.ts', instance: 'store.snapshots' },
  { name: 'Archives', file: 'archives.ts', instance: 'store.archives' },
  { name: 'OpenArchive', file: 'archives.ts', instance: 'archive' },
];
/** Functions that users call without an object. */
const FUNCTIONS = [{ name: 'openArchive', file: 'archives.ts' }];

/** Returns the texts of the files of src/app/signatures, by name, as the sources are now. */
export function signatureFiles() {
  const { options } = ts.getParsedCommandLineOfConfigFile(`${HOME}tsconfig.json`, {}, ts.sys);
  const index = `${HOME}src/index.ts`;
  const program = ts.createProgram([index], { ...options, noEmit: true });
  const checker = program.getTypeChecker();
  const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(index)));
  const files = {};
  for (const { name, file, instance } of CLASSES) {
    const { methods, shapes } = (files[file] ??= { methods: {}, shapes: new Shapes(checker) });
    const symbol = checker.getAliasedSymbol(exported.find((one) => one.name === name));
    const type = checker.getTypeOfSymbol(symbol);
    for (const signature of type.getConstructSignatures())
      if (isPublic(signature) && signature.parameters.length > 0)
        methods[`new ${name}`] = shapes.signature(signature);
    for (const [owner, members] of [
      [name, type],
      [instance, checker.getDeclaredTypeOfSymbol(symbol)],
    ])
      for (const property of checker.getPropertiesOfType(members)) {
        const [signature] = checker.getTypeOfSymbol(property).getCallSignatures();
        if (signature === undefined || signature.parameters.length === 0 || !isPublic(property)) continue;
        methods[`${owner}.${property.name}`] = shapes.signature(signature);
      }
  }
  for (const { name, file } of FUNCTIONS) {
    const { methods, shapes } = (files[file] ??= { methods: {}, shapes: new Shapes(checker) });
    const symbol = checker.getAliasedSymbol(exported.find((one) => one.name === name));
    methods[name] = shapes.signature(checker.getTypeOfSymbol(symbol).getCallSignatures()[0]);
  }
  return Object.fromEntries(
    Object.entries(files).map(([file, { methods, shapes }]) => [file, fileText(methods, shapes.objects)]),
  );
}

function fileText(methods, objects) {
  return `/** What the public methods take. Written by \`npm run signatures\` from their types: change those. */
import type { Signatures } from '../../core/arguments.ts';

export const signatures = (): Signatures => ({
  methods: {
${lines(methods)}
  },
  objects: {
${lines(objects)}
  },
});
`;
}

function lines(members) {
  return Object.entries(members)
    .map(([name, value]) => `    ${JSON.stringify(name)}: ${JSON.stringify(value)},`)
    .join('\n');
}

/** @param member a property, or the signature of a constructor */
function isPublic(member) {
  if (member.getJsDocTags?.().some(({ name }) => name === 'internal')) return false;
  const declaration = member.valueDeclaration ?? member.declaration;
  return (
    declaration === undefined ||
    ((ts.getCombinedModifierFlags(declaration) & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected)) ===
      0 &&
      !(declaration.name && ts.isPrivateIdentifier(declaration.name)))
  );
}

/** Derives the shapes of types; shapes of objects are kept by name. */
class Shapes {
  objects = {};
  #checker;
  #names = new Map();

  constructor(checker) {
    this.#checker = checker;
  }

  signature(signature) {
    const parameters = signature.parameters.map((parameter, index) => ({
      // A parameter that is destructured in its declaration has no name of its own.
      name: parameter.name.startsWith('__') ? 'options' : parameter.name,
      shape: this.#shape(this.#checker.getTypeOfSymbol(parameter)),
      ...(this.#isOptional(signature, parameter, index) && { optional: true }),
    }));
    const returned = signature.getReturnType();
    return { parameters, ...(returned.symbol?.name === 'Promise' && { async: true }) };
  }

  #isOptional({ declaration }, parameter, index) {
    const node = declaration.parameters[index];
    return (
      node.initializer !== undefined ||
      node.questionToken !== undefined ||
      this.#takesUndefined(this.#checker.getTypeOfSymbol(parameter))
    );
  }

  #takesUndefined(type) {
    return (type.isUnion() ? type.types : [type]).some(
      ({ flags }) => flags & (ts.TypeFlags.Undefined | ts.TypeFlags.Any),
    );
  }

  #shape(type) {
    const { flags } = type;
    if (flags & (ts.TypeFlags.Any | ts.TypeFlags.Unknown)) return 'any';
    if (flags & ts.TypeFlags.Null) return 'null';
    if (type.isUnion())
      return this.#either(type.types.filter((one) => !(one.flags & ts.TypeFlags.Undefined)));
    if (flags & ts.TypeFlags.BooleanLiteral) return { one: [type.intrinsicName === 'true'] };
    if (type.isLiteral()) return { one: [type.value] };
    if (flags & (ts.TypeFlags.StringLike | ts.TypeFlags.TemplateLiteral)) return 'string';
    if (flags & ts.TypeFlags.NumberLike) return 'number';
    if (flags & ts.TypeFlags.BigIntLike) return 'bigint';
    if (flags & ts.TypeFlags.BooleanLike) return 'boolean';
    // A string with a brand.
    if (type.isIntersection() && type.types.some((one) => one.flags & ts.TypeFlags.StringLike))
      return 'string';
    if (type.getCallSignatures().length > 0) return 'function';
    if (this.#checker.isArrayType(type))
      return { list: this.#shape(this.#checker.getTypeArguments(type)[0]) };
    const values = this.#checker.getIndexTypeOfType(type, ts.IndexKind.String);
    if (values !== undefined) return { map: this.#shape(values) };
    return { object: this.#object(type) };
  }

  /** Joins values of the same kind into one alternative. */
  #either(types) {
    const shapes = [];
    const literals = [];
    for (const type of types) {
      const shape = this.#shape(type);
      if (shape.one) literals.push(...shape.one);
      else if (!shapes.some((other) => JSON.stringify(other) === JSON.stringify(shape))) shapes.push(shape);
    }
    if (literals.includes(true) && literals.includes(false)) shapes.push('boolean');
    const rest = literals.filter((one) => !shapes.includes(typeof one));
    if (rest.length > 0) shapes.push({ one: rest });
    return shapes.length === 1 ? shapes[0] : { either: shapes };
  }

  #object(type) {
    const known = this.#names.get(type);
    if (known !== undefined) return known;
    const name = this.#nameOf(type);
    this.#names.set(type, name);
    // Entered before its keys, because a type may refer to itself.
    const shape = (this.objects[name] = {});
    const members = this.#checker
      .getPropertiesOfType(type)
      .filter(isPublic)
      .map((property) => ({
        name: property.name.replace(/^__(@\w+)@\d+$/, '@$1'),
        type: this.#checker.getTypeOfSymbol(property),
        optional: (property.flags & ts.SymbolFlags.Optional) !== 0,
      }));
    const methods = members.filter(({ type, optional }) => !optional && type.getCallSignatures().length > 0);
    // Of an object with methods, only the methods are checked.
    if (methods.length > 0) shape.methods = methods.map((member) => member.name);
    else shape.keys = Object.fromEntries(members.map((member) => [member.name, this.#shape(member.type)]));
    const required = members.filter(({ type, optional }) => !optional && !this.#takesUndefined(type));
    if (methods.length === 0 && required.length > 0) shape.required = required.map((member) => member.name);
    return name;
  }

  #nameOf(type) {
    const written = this.#checker.typeToString(type, undefined, ts.TypeFormatFlags.NoTruncation);
    const name = /\bPick<|^\{/.test(written) ? 'options' : written.replace(/<.*/, '');
    const taken = (text) => Object.hasOwn(this.objects, text);
    if (!taken(name)) return name;
    for (let number = 2; ; number++) if (!taken(`${name} ${number}`)) return `${name} ${number}`;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  for (const [file, text] of Object.entries(signatureFiles())) await writeFile(OUTPUT + file, text);
