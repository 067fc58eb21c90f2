import { Refusal } from "./refusal";

/**
 * Get a file of the page.
 *
 * @param what the file in words, as the beginning of a sentence
 * @throws Refusal if the network or the server fails
 */
export async function load(address: string | URL, what: string): Promise<Response> {
  const response = await fetch(address).catch(() => null);
  if (response?.ok) return response;
  throw new Refusal(`${what} could not be loaded; check the network connection, and try again.`);
}
