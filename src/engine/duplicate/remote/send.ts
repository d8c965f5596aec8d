/** The side of the source: sends it through ssh to a doppel that has the target. */
import { ArchiveIoError } from '../../archive/errors.ts';
import { TarSink } from '../../archive/tar-sink.ts';
import { ArchiveWriter, type ArchiveWriterOptions } from '../../archive/writer.ts';
import { ignoreEvents, type OnEvent, type RunOptions } from '../../events.ts';
import type { ByteRange } from '../../image/contract.ts';
import { captureInto } from '../capture.ts';
import type { CapturePlan } from '../capture-plan.ts';
import { RemoteError, RemoteVersionError } from './errors.ts';
import { type Message, PROTOCOL, type ReceiveRequest, type RemotePlan, type RemoteResult } from './protocol.ts';
import type { SshConnection } from './ssh.ts';

export interface SentResult extends RemoteResult {
  /** Could not be read here, and are zeros there. */
  readonly unreadable: readonly ByteRange[];
}

export class RemoteTarget {
  readonly plan: RemotePlan;
  readonly #connection: SshConnection;
  readonly #writer: ArchiveWriter;
  readonly #capture: CapturePlan;

  private constructor(connection: SshConnection, writer: ArchiveWriter, capture: CapturePlan, plan: RemotePlan) {
    this.#connection = connection;
    this.#writer = writer;
    this.#capture = capture;
    this.plan = plan;
  }

  /** Waits until the other side is there. @throws RemoteVersionError, and the errors of SshConnection */
  static greet(connection: SshConnection, signal?: AbortSignal): Promise<void> {
    return heeding(signal, connection, async () => {
      const hello = await connection.next();
      if (hello.type !== 'hello') throw new RemoteVersionError(connection.host, `it begins with "${hello.type}"`);
      const { protocol, version } = hello;
      if (protocol !== PROTOCOL)
        throw new RemoteVersionError(connection.host, `its doppel ${version} speaks protocol ${protocol}, not ${PROTOCOL}`);
    });
  }

  /** Asks for the plan, once it was greeted; the target is untouched. The connection stays the caller's to close. @throws RemoteError, RemoteVersionError, and those of SshConnection */
  static ask(
    connection: SshConnection,
    request: Omit<ReceiveRequest, 'protocol'>,
    capture: CapturePlan,
    options: ArchiveWriterOptions,
    { signal, onEvent = ignoreEvents }: RunOptions = {},
  ): Promise<RemoteTarget> {
    return heeding(signal, connection, async () => {
      connection.input.write(`${JSON.stringify({ protocol: PROTOCOL, ...request })}\n`);
      const sending = TarSink.toStream(connection.host, connection.input).then((sink) =>
        ArchiveWriter.begin(sink, capture.layout, options),
      );
      sending.catch(() => {});
      for (;;) {
        const other = heard(await connection.next(), connection.host, onEvent);
        // It has read the layout by then.
        if (other?.type === 'plan') return new RemoteTarget(connection, await sending, capture, other);
      }
    });
  }

  /** Everything, until the target is committed. @throws RemoteError, RemoteLostError, and what a capture throws */
  send({ signal, onEvent = ignoreEvents }: RunOptions = {}): Promise<SentResult> {
    return heeding(signal, this.#connection, async () => {
      const result = this.#result(onEvent);
      result.catch(() => {});
      // Where the other side stands is said by the other side.
      const local: OnEvent = (event) => (event.type === 'phase' ? undefined : onEvent(event));
      const options = { have: new Map(this.plan.have), onEvent: local, ...(signal === undefined ? {} : { signal }) };
      let unreadable: readonly ByteRange[];
      try {
        ({ unreadable } = await captureInto(this.#writer, this.#capture, options));
      } catch (error) {
        // That nobody takes it any more says less than why.
        if (error instanceof ArchiveIoError) await result;
        throw error;
      }
      return { ...(await result), unreadable };
    });
  }

  async #result(onEvent: OnEvent): Promise<RemoteResult> {
    // How far the copy is, is told by what is sent.
    const later: OnEvent = (event) => {
      if (event.type === 'phase' && event.phase === 'copy')
        onEvent({ type: 'phase', phase: 'capture', title: `Sending to ${this.#connection.host}` });
      else if (event.type !== 'progress' || event.phase !== 'copy') onEvent(event);
    };
    for (;;) {
      const other = heard(await this.#connection.next(), this.#connection.host, later);
      if (other?.type === 'result') return other;
    }
  }
}

/** Ends the connection when the signal comes, and tells that instead of what follows from it. */
async function heeding<T>(signal: AbortSignal | undefined, connection: SshConnection, action: () => Promise<T>): Promise<T> {
  const close = (): void => void connection.close();
  signal?.addEventListener('abort', close, { once: true });
  try {
    return await action();
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener('abort', close);
  }
}

/** @throws RemoteError */
function heard(message: Message, host: string, onEvent: OnEvent): RemotePlan | RemoteResult | undefined {
  switch (message.type) {
    case 'event':
      onEvent(message.event);
      return undefined;
    case 'error':
      throw new RemoteError(host, message.error);
    case 'plan':
    case 'result':
      return message;
    default:
      return undefined;
  }
}
