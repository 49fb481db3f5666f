/** Thrown inside the engine when continuity broke: the database answers with a full transaction. Never leaves it. */
export class ContinuityLost extends Error {
  override readonly name = 'ContinuityLost';
  /** For the log. */
  readonly reason: string;

  constructor(reason: string) {
    super(reason);
    this.reason = reason;
  }
}
