/** An error for the visitor; the message is a sentence. */
export class Refusal extends Error {}
