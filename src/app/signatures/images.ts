/** What the public methods take. Written by `npm run signatures` from their types: change those. */
import type { Signatures } from '../../core/arguments.ts';

export const signatures = (): Signatures => ({
  methods: {
    "store.images.load": {"parameters":[{"name":"source","shape":{"either":["string",{"object":"AsyncIterable"}]}},{"name":"options","shape":{"object":"LoadOptions"},"optional":true}],"async":true},
    "store.images.save": {"parameters":[{"name":"images","shape":{"either":["string",{"list":"string"}]}},{"name":"options","shape":{"object":"SaveOptions"},"optional":true}]},
    "store.images.saveTo": {"parameters":[{"name":"fd","shape":"number"},{"name":"images","shape":{"either":["string",{"list":"string"}]}},{"name":"options","shape":{"object":"SaveOptions"},"optional":true}],"async":true},
    "store.images.import": {"parameters":[{"name":"source","shape":{"either":["string",{"object":"AsyncIterable"}]}},{"name":"options","shape":{"object":"ImportOptions & NameOptions"},"optional":true}],"async":true},
    "store.images.writeDisk": {"parameters":[{"name":"fd","shape":"number"},{"name":"image","shape":"string"},{"name":"options","shape":{"object":"DiskImageOptions"},"optional":true}],"async":true},
    "store.images.settle": {"parameters":[{"name":"image","shape":"string"},{"name":"options","shape":{"object":"SettleOptions"},"optional":true}],"async":true},
    "store.images.pack": {"parameters":[{"name":"images","shape":{"either":["string",{"list":"string"}]}},{"name":"options","shape":{"object":"PackOptions"},"optional":true}],"async":true},
    "store.images.build": {"parameters":[{"name":"context","shape":{"either":["string",{"object":"Readable"}]}},{"name":"options","shape":{"object":"BuildOptions"},"optional":true}],"async":true},
    "store.images.list": {"parameters":[{"name":"options","shape":{"object":"ListOptions"},"optional":true}],"async":true},
    "store.images.inspect": {"parameters":[{"name":"image","shape":"string"}],"async":true},
    "store.images.history": {"parameters":[{"name":"image","shape":"string"}],"async":true},
    "store.images.tag": {"parameters":[{"name":"image","shape":"string"},{"name":"reference","shape":"string"}],"async":true},
    "store.images.remove": {"parameters":[{"name":"image","shape":"string"},{"name":"options","shape":{"object":"DeleteOptions"},"optional":true}],"async":true},
    "store.images.prune": {"parameters":[{"name":"options","shape":{"object":"PruneOptions"},"optional":true}],"async":true},
  },
  objects: {
    "AsyncIterable": {"methods":["@@asyncIterator"]},
    "LoadOptions": {"keys":{"platform":"string","maxBytes":"number","check":"boolean","form":{"one":["classic","packed","auto"]},"signal":{"object":"AbortSignal"},"onProgress":"function"}},
    "AbortSignal": {"methods":["throwIfAborted","addEventListener","dispatchEvent","removeEventListener"]},
    "SaveOptions": {"keys":{"format":{"one":["docker","oci"]},"signal":{"object":"AbortSignal"},"onProgress":"function"}},
    "ImportOptions & NameOptions": {"keys":{"base":"string","author":"string","message":"string","changes":{"list":"string"},"platform":"string","maxBytes":"number","sourceDateEpoch":"number","form":{"one":["classic","packed","auto"]},"signal":{"object":"AbortSignal"},"onProgress":"function","reference":"string"}},
    "DiskImageOptions": {"keys":{"format":{"one":["erofs","ext4"]},"size":"number","sourceDateEpoch":"number","signal":{"object":"AbortSignal"},"onProgress":"function"}},
    "SettleOptions": {"keys":{"signal":{"object":"AbortSignal"}}},
    "PackOptions": {"keys":{"signal":{"object":"AbortSignal"}}},
    "Readable": {"methods":["_read","read","setEncoding","pause","resume","isPaused","unpipe","unshift","wrap","push","iterator","map","filter","forEach","toArray","some","find","every","flatMap","drop","take","asIndexedPairs","reduce","_destroy","destroy","addListener","emit","on","once","prependListener","prependOnceListener","removeListener","@@asyncIterator","@@asyncDispose","pipe","compose","off","removeAllListeners","setMaxListeners","getMaxListeners","listeners","rawListeners","listenerCount","eventNames"]},
    "BuildOptions": {"keys":{"dockerfile":"string","dockerfileText":"string","tags":{"list":"string"},"target":"string","buildArgs":{"map":"string"},"labels":{"map":"string"},"noCache":"boolean","pull":"boolean","cacheFrom":{"list":"string"},"squash":"boolean","network":{"one":["none","host"]},"platform":"string","secrets":{"map":"string"},"hostConfig":{"map":"any"},"runtime":"string","sourceDateEpoch":"number","signal":{"object":"AbortSignal"},"onProgress":"function"}},
    "ListOptions": {"keys":{"all":"boolean","filters":{"object":"ImageFilters"},"sharedSize":"boolean"}},
    "ImageFilters": {"keys":{"dangling":"boolean","before":{"either":["string",{"list":"string"}]},"since":{"either":["string",{"list":"string"}]},"until":{"either":["string",{"list":"string"}]},"reference":{"list":"string"},"label":{"list":"string"},"notLabel":{"list":"string"}}},
    "DeleteOptions": {"keys":{"force":"boolean","noPrune":"boolean"}},
    "PruneOptions": {"keys":{"all":"boolean","filters":{"object":"options"},"dryRun":"boolean"}},
    "options": {"keys":{"label":{"list":"string"},"notLabel":{"list":"string"},"until":{"either":["string",{"list":"string"}]}}},
  },
});
