/** An error for the visitor; the message is a sentence. */
export class Refusal extends Error {}

/** A part of the program could not be loaded, and browsers do not try it again in the same worker. */
export class Unloaded extends Refusal {
  constructor() {
    super("The fusion program could not be loaded; check the network connection, and try again.");
  }
}
