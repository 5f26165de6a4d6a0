/** What the public methods take. Written by `npm run signatures` from their types: change those. */
import type { Signatures } from '../../core/arguments.ts';

export const signatures = (): Signatures => ({
  methods: {
    "new Registry": {"parameters":[{"name":"root","shape":"string"},{"name":"options","shape":{"object":"RootOptions"},"optional":true}]},
    "store.registry.pullLayout": {"parameters":[{"name":"reference","shape":"string"},{"name":"directory","shape":"string"},{"name":"options","shape":{"object":"PullLayoutOptions & RegistryOptions"},"optional":true}],"async":true},
    "store.registry.manifest": {"parameters":[{"name":"reference","shape":"string"},{"name":"options","shape":{"object":"InspectOptions & RegistryOptions"},"optional":true}],"async":true},
    "store.registry.tags": {"parameters":[{"name":"repository","shape":"string"},{"name":"options","shape":{"object":"RequestOptions & RegistryOptions"},"optional":true}]},
    "store.registry.referrers": {"parameters":[{"name":"reference","shape":"string"},{"name":"options","shape":{"object":"RequestOptions & RegistryOptions"},"optional":true}],"async":true},
    "store.registry.remove": {"parameters":[{"name":"reference","shape":"string"},{"name":"options","shape":{"object":"RequestOptions & RegistryOptions"},"optional":true}],"async":true},
    "store.registry.login": {"parameters":[{"name":"registry","shape":"string"},{"name":"credentials","shape":{"object":"Credentials"}},{"name":"options","shape":{"object":"LoginOptions"},"optional":true}],"async":true},
    "store.registry.logout": {"parameters":[{"name":"registry","shape":"string"},{"name":"options","shape":{"object":"LogoutOptions"},"optional":true}],"async":true},
    "store.registry.pull": {"parameters":[{"name":"reference","shape":"string"},{"name":"options","shape":{"object":"PullOptions & RegistryOptions"},"optional":true}],"async":true},
    "store.registry.push": {"parameters":[{"name":"reference","shape":"string"},{"name":"options","shape":{"object":"PushOptions & RegistryOptions"},"optional":true}],"async":true},
  },
  objects: {
    "RootOptions": {"keys":{"readOnly":"boolean","allowUnsafeRoot":"boolean","log":{"object":"Logger"}}},
    "Logger": {"methods":["debug","info","warn","error"]},
    "PullLayoutOptions & RegistryOptions": {"keys":{"maxConcurrentDownloads":"number","maxBytes":"number","signal":{"object":"AbortSignal"},"onProgress":"function","credentials":{"object":"CredentialSource"}}},
    "AbortSignal": {"methods":["throwIfAborted","addEventListener","dispatchEvent","removeEventListener"]},
    "CredentialSource": {"methods":["get"]},
    "InspectOptions & RegistryOptions": {"keys":{"images":"boolean","signal":{"object":"AbortSignal"},"credentials":{"object":"CredentialSource"}}},
    "RequestOptions & RegistryOptions": {"keys":{"signal":{"object":"AbortSignal"},"credentials":{"object":"CredentialSource"}}},
    "Credentials": {"keys":{"username":"string","password":"string","identityToken":"string","registryToken":"string"}},
    "LoginOptions": {"keys":{"keep":"boolean","config":{"object":"DockerConfig"},"signal":{"object":"AbortSignal"}}},
    "DockerConfig": {"methods":["get","store","erase"]},
    "LogoutOptions": {"keys":{"config":{"object":"DockerConfig"},"signal":{"object":"AbortSignal"}}},
    "PullOptions & RegistryOptions": {"keys":{"platform":"string","allTags":"boolean","maxConcurrentDownloads":"number","maxBytes":"number","keepBlobs":"boolean","check":"boolean","form":{"one":["classic","packed","auto"]},"signal":{"object":"AbortSignal"},"onProgress":"function","credentials":{"object":"CredentialSource"}}},
    "PushOptions & RegistryOptions": {"keys":{"compression":{"one":["gzip","zstd"]},"compressionLevel":"number","format":{"one":["docker","oci"]},"allTags":"boolean","maxConcurrentUploads":"number","monolithic":"boolean","signal":{"object":"AbortSignal"},"onProgress":"function","credentials":{"object":"CredentialSource"}}},
  },
});
