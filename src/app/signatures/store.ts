/** What the public methods take. Written by `npm run signatures` from their types: change those. */
import type { Signatures } from '../../core/arguments.ts';

export const signatures = (): Signatures => ({
  methods: {
    "Layerstack.open": {"parameters":[{"name":"options","shape":{"object":"OpenOptions"},"optional":true}],"async":true},
    "Layerstack.diagnose": {"parameters":[{"name":"root","shape":"string","optional":true}],"async":true},
    "store.onEvent": {"parameters":[{"name":"listener","shape":"function"}]},
    "store.events": {"parameters":[{"name":"options","shape":{"object":"EventsOptions"},"optional":true}]},
    "store.fsck": {"parameters":[{"name":"options","shape":{"object":"FsckOptions"},"optional":true}]},
    "store.pruneOrphans": {"parameters":[{"name":"options","shape":{"object":"OrphanOptions"},"optional":true}],"async":true},
    "store.scrub": {"parameters":[{"name":"options","shape":{"object":"ScrubOptions"},"optional":true}]},
    "store.announceTemporary": {"parameters":[{"name":"path","shape":"string"}],"async":true},
    "store.close": {"parameters":[{"name":"options","shape":{"object":"CloseOptions"},"optional":true}],"async":true},
  },
  objects: {
    "OpenOptions": {"keys":{"root":"string","readOnly":"boolean","allowUnsafeRoot":"boolean","log":{"object":"Logger"},"addon":"string"}},
    "Logger": {"methods":["debug","info","warn","error"]},
    "EventsOptions": {"keys":{"since":"string","until":"string","filters":{"map":{"list":"string"}},"signal":{"object":"AbortSignal"}}},
    "AbortSignal": {"methods":["throwIfAborted","addEventListener","dispatchEvent","removeEventListener"]},
    "FsckOptions": {"keys":{"deep":"boolean","repair":"boolean","from":{"list":"string"},"pull":"boolean","signal":{"object":"AbortSignal"}}},
    "OrphanOptions": {"keys":{"force":"boolean","dryRun":"boolean","signal":{"object":"AbortSignal"}}},
    "ScrubOptions": {"keys":{"rate":"number","restart":"boolean","signal":{"object":"AbortSignal"}}},
    "CloseOptions": {"keys":{"signal":{"object":"AbortSignal"}}},
  },
});
