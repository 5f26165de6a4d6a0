/** What the public methods take. Written by `npm run signatures` from their types: change those. */
import type { Signatures } from '../../core/arguments.ts';

export const SIGNATURES: Signatures = {
  methods: {
    "store.archives.open": {"parameters":[{"name":"path","shape":"string"},{"name":"options","shape":{"object":"OpenArchiveOptions"},"optional":true}],"async":true},
    "store.archives.mount": {"parameters":[{"name":"path","shape":"string"},{"name":"options","shape":{"object":"OpenArchiveOptions"},"optional":true}],"async":true},
    "store.archives.unmount": {"parameters":[{"name":"path","shape":"string"},{"name":"options","shape":{"object":"UnmountArchiveOptions"},"optional":true}],"async":true},
    "store.archives.diff": {"parameters":[{"name":"path","shape":"string"},{"name":"options","shape":{"object":"MountedChoice"},"optional":true}],"async":true},
    "archive.close": {"parameters":[{"name":"options","shape":{"object":"options"},"optional":true}],"async":true},
    "openArchive": {"parameters":[{"name":"path","shape":"string"},{"name":"options","shape":{"object":"StorelessOptions"},"optional":true}],"async":true},
  },
  objects: {
    "OpenArchiveOptions": {"keys":{"image":"string","platform":"string","verify":"boolean","readOnly":"boolean","maxBytes":"number","signal":{"object":"AbortSignal"}}},
    "AbortSignal": {"methods":["throwIfAborted","addEventListener","dispatchEvent","removeEventListener"]},
    "UnmountArchiveOptions": {"keys":{"force":"boolean","signal":{"object":"AbortSignal"}}},
    "MountedChoice": {"keys":{"image":"string","platform":"string"}},
    "options": {"keys":{"force":"boolean"}},
    "StorelessOptions": {"keys":{"directory":"string","image":"string","platform":"string","verify":"boolean","readOnly":"boolean","maxBytes":"number","signal":{"object":"AbortSignal"}}},
  },
};
