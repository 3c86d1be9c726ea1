// Hears of a job as things happen, from the server's event stream.

// A browser opens six connections to a server at a time, over all its tabs, and pictures need some too.
const MOST_STREAMS = 2;
const SILENCE = 40_000; // milliseconds without a sign of life; the stream itself is quiet at times, so this is generous

let open = 0;

export const canListen = () => open < MOST_STREAMS && !document.hidden && "EventSource" in window;

// Calls `hear.status(job)`, `hear.progress(progress)`, `hear.preview(preview)` and `hear.trouble()` until the job has
// ended, and returns it. Returns null when there is no more to be heard here: the stream was refused, or the page is
// not looked at any more. The browser connects again by itself, and goes on after the last status that came.
export function listen(id, hear) {
  return new Promise((resolve) => {
    const source = new EventSource(`/jobs/${encodeURIComponent(id)}/events`);
    let patience = 0;
    open += 1;

    const leave = (job) => {
      clearTimeout(patience);
      document.removeEventListener("visibilitychange", hide);
      source.close();
      open -= 1;
      resolve(job);
    };
    const hide = () => document.hidden && leave(null);
    const wait = () => {
      clearTimeout(patience);
      patience = setTimeout(() => leave(null), SILENCE);
    };
    const on = (name, action) => source.addEventListener(name, (event) => {
      wait();
      action(JSON.parse(event.data));
    });

    on("status", hear.status);
    on("progress", hear.progress);
    on("preview", hear.preview);
    on("done", leave);
    source.addEventListener("error", () => (source.readyState === EventSource.CLOSED ? leave(null) : hear.trouble()));
    document.addEventListener("visibilitychange", hide);
    wait();
  });
}
