// Passkeys: the browser's half of WebAuthn, in the shapes of `/api`.  Bytes travel as base64url.
import { ApiError, net } from './net.svelte';

/** A passkey is tied to a name: by an address of numbers there is none. */
export const named = !/^(\d+(\.\d+){3}|\[.*\])$/.test(location.hostname);
export const possible = named && 'PublicKeyCredential' in window;

export interface PasskeyRow { id: string; label: string; host: string; created: string; used: string | null }

const text = (bytes: ArrayBuffer): string => btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
const bytes = (text: string): Uint8Array<ArrayBuffer> => Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (one) => one.charCodeAt(0));

/** The person closed the browser's window, or let it stand: nothing that they need to be told. */
export const dismissed = (error: unknown): boolean => error instanceof DOMException && (error.name === 'NotAllowedError' || error.name === 'AbortError');

/** What signs in, for `POST /api/session/passkey`. */
export async function show(): Promise<Record<string, string>> {
  const { challenge, rp } = await net.api<{ challenge: string; rp: string }>('POST', 'session/passkey/options', undefined, true);
  const shown = (await navigator.credentials.get({ publicKey: { challenge: bytes(challenge), rpId: rp, userVerification: 'required' } })) as PublicKeyCredential;
  const said = shown.response as AuthenticatorAssertionResponse;
  return { id: text(shown.rawId), user: said.userHandle ? text(said.userHandle) : '', client_data: text(said.clientDataJSON), authenticator_data: text(said.authenticatorData), signature: text(said.signature) };
}

export async function add(label: string, password: string): Promise<void> {
  const asked = await net.api<{ challenge: string; rp: string; user: string; name: string; display_name: string; algorithms: number[]; exclude: string[] }>('POST', 'passkeys/options', { password });
  const made = (await navigator.credentials.create({
    publicKey: {
      challenge: bytes(asked.challenge), rp: { id: asked.rp, name: 'Understudy' }, user: { id: bytes(asked.user), name: asked.name, displayName: asked.display_name },
      pubKeyCredParams: asked.algorithms.map((alg) => ({ type: 'public-key', alg })), excludeCredentials: asked.exclude.map((id) => ({ type: 'public-key', id: bytes(id) })),
      authenticatorSelection: { residentKey: 'required', requireResidentKey: true, userVerification: 'required' }, attestation: 'none',
    },
  })) as PublicKeyCredential;
  const said = made.response as AuthenticatorAttestationResponse;
  const key = said.getPublicKey();
  if (!key) throw new ApiError(0, 'invalid', 'key');
  await net.api('POST', 'passkeys', { label, client_data: text(said.clientDataJSON), authenticator_data: text(said.getAuthenticatorData()), key: text(key), algorithm: said.getPublicKeyAlgorithm() });
}
