// How a client that orval generates reaches the service: orval leaves the address to a function of its user.
declare const process: { env: Record<string, string | undefined> };

export async function fetchFromService<Answer>(path: string, options?: RequestInit): Promise<Answer> {
  const response = await fetch(new URL(path, process.env["BASE"]), options);
  return { data: await response.json(), status: response.status, headers: response.headers } as Answer;
}
