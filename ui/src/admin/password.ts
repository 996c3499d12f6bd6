/** A password of 100 bits that can be read out over a telephone. */
export function makePassword(): string {
  const signs = 'abcdefghijkmnpqrstuvwxyz23456789';
  const text = [...crypto.getRandomValues(new Uint8Array(20))].map((byte) => signs[byte % 32]).join('');
  return text.match(/.{5}/g)!.join('-');
}
