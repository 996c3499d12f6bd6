// Server-sent events over fetch: unlike EventSource it tells a refusal from a broken line and hears comments, too.

/** Reads to the end. `heard` is called for whatever arrives, `each` with the text of each event. */
export async function readEvents(body: ReadableStream<Uint8Array<ArrayBuffer>>, heard: () => void, each: (event: string) => void): Promise<void> {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    heard();
    const events = (rest + value).split(/\r?\n\r?\n/);
    rest = events.pop() ?? '';
    events.forEach(each);
  }
}
