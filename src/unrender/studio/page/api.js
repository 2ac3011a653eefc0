// The service: files, jobs, pictures. Every call says what went wrong in one line.

export async function ask(path, options = {}) {
  const answer = await fetch(path, options);
  if (answer.ok) return answer;
  let says = `${answer.status} ${answer.statusText}`;
  try { says = (await answer.json()).detail ?? says; } catch { /* no JSON, so the status says it */ }
  throw new Error(says);
}

export const json = async (path, options) => (await ask(path, options)).json();

export const post = (path, body, signal) =>
  ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal });

export async function upload(file, name = file.name) {
  return json(`/v1/files?name=${encodeURIComponent(name)}`, { method: "POST", body: file });
}

// Starts a job, tells `report` how far it is, and gives it when it is done. `signal` cancels it.
export async function run(path, body, report, signal) {
  let job = await (await post(path, body)).json();
  const cancel = () => ask(`/v1/jobs/${job.id}`, { method: "DELETE" }).catch(() => {});
  signal?.addEventListener("abort", cancel, { once: true });
  while (job.state === "queued" || job.state === "running") {
    report(job);
    await new Promise((wake) => setTimeout(wake, 150));
    job = await json(`/v1/jobs/${job.id}`);
  }
  if (job.state !== "done") throw new Error(job.message || job.state);
  return job;
}
