import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import {
  type JSONRPCMessage,
  type JSONRPCRequest,
  JSONRPCRequestSchema,
  type RequestId,
  RequestIdSchema,
  SUPPORTED_PROTOCOL_VERSIONS,
} from '@modelcontextprotocol/sdk/types.js';
import { isAborted } from '../lib/clock.ts';
import type { ToolResult } from './call.ts';
import { type Arguments, listTools, type Tool, tools } from './tools.ts';

const SERVER_INFO = { name: 'Litestream MCP Server', version: '1.0.0' };
/** What a client gets that asks for a version which is not known. */
const FALLBACK_VERSION = '2025-03-26';

const PARSE_ERROR = -32_700;
const INVALID_REQUEST = -32_600;
const METHOD_NOT_FOUND = -32_601;
const INVALID_PARAMS = -32_602;
const INTERNAL_ERROR = -32_603;

/** An answer, in the order of its fields on the wire. */
export interface RpcAnswer {
  readonly jsonrpc: '2.0';
  readonly id: RequestId | null;
  readonly result?: unknown;
  readonly error?: { readonly code: number; readonly message: string };
}

/** Becomes the `error` of an answer: the SDK reads `code` and `message`. */
class RpcError extends Error {
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

export type CallTool = (tool: Tool, given: Arguments, signal: AbortSignal) => Promise<ToolResult>;

/** A request that is being worked on. */
interface Pending {
  readonly session: string;
  readonly id: RequestId;
  readonly settle: (answer: RpcAnswer | undefined) => void;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A message as it came; undefined if it is not one JSON object. */
export function parseMessage(body: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(body);
    return isObject(value) ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

function errorAnswer(id: RequestId | null, code: number, message: string): RpcAnswer {
  return { jsonrpc: '2.0', id, error: { code, message } };
}

/** The answer to a body that is not one JSON object. */
export const notJson: RpcAnswer = errorAnswer(null, PARSE_ERROR, 'request body is not valid json');

/** A message's parameters with what the SDK insists on and other servers do without. */
function parametersOf(method: string, params: unknown): unknown {
  if (method !== 'initialize') return params ?? undefined;
  const given = isObject(params) ? params : {};
  const { capabilities, clientInfo, protocolVersion } = given;
  const known =
    typeof protocolVersion === 'string' && SUPPORTED_PROTOCOL_VERSIONS.includes(protocolVersion);
  return {
    capabilities: isObject(capabilities) ? capabilities : {},
    clientInfo: isObject(clientInfo)
      ? { name: '', version: '', ...clientInfo }
      : { name: '', version: '' },
    protocolVersion: known ? protocolVersion : FALLBACK_VERSION,
  };
}

/**
 * The protocol without a transport: one message in, at most one out. Requests of all clients go through one server of the SDK, under
 * numbers of our own, because clients know nothing of each other's. Spec: interfaces 5.1.
 */
export class McpProtocol {
  readonly #callTool: CallTool;
  readonly #server: Server;
  readonly #transport: Transport;
  readonly #pending = new Map<RequestId, Pending>();
  #count = 0;

  constructor(callTool: CallTool) {
    this.#callTool = callTool;
    this.#server = new Server(SERVER_INFO, { capabilities: { logging: {}, tools: {} } });
    // No event ever reaches a client, so there is no level to set.
    this.#server.removeRequestHandler('logging/setLevel');
    this.#server.fallbackRequestHandler = (request, { signal }) => this.#handle(request, signal);
    this.#transport = {
      start: () => Promise.resolve(),
      close: () => {
        this.#transport.onclose?.();
        return Promise.resolve();
      },
      send: (message) => {
        this.#send(message);
        return Promise.resolve();
      },
    };
  }

  /** Has to be awaited before the first message. */
  async start(): Promise<void> {
    await this.#server.connect(this.#transport);
  }

  /** Aborts what is being worked on. */
  async close(): Promise<void> {
    await this.#server.close();
    for (const { settle } of this.#pending.values()) settle(undefined);
    this.#pending.clear();
  }

  /**
   * Answers one message.
   *
   * @param signal - fires when the client has gone.
   * @returns undefined if there is nothing to answer: notifications, responses, requests that were cancelled.
   */
  async answer(
    message: Readonly<Record<string, unknown>>,
    session: string,
    signal: AbortSignal,
  ): Promise<RpcAnswer | undefined> {
    const { id, jsonrpc, method, params } = message;
    const known =
      typeof id === 'string' || Number.isSafeInteger(id) ? RequestIdSchema.parse(id) : null;
    if (jsonrpc !== '2.0') return errorAnswer(known, INVALID_REQUEST, 'Invalid JSON-RPC version');
    if (method === undefined && ('result' in message || 'error' in message)) return undefined;
    if (id === undefined || id === null) {
      this.#notified(method, params, session);
      return undefined;
    }
    const request = JSONRPCRequestSchema.safeParse({
      jsonrpc,
      id: `${++this.#count}`,
      method,
      params: typeof method === 'string' ? parametersOf(method, params) : params,
    });
    if (known === null || !request.success) {
      return errorAnswer(known, INVALID_REQUEST, 'Invalid request');
    }
    return this.#ask(request.data, { session, id: known }, signal);
  }

  #ask(
    request: JSONRPCRequest,
    from: Pick<Pending, 'id' | 'session'>,
    signal: AbortSignal,
  ): Promise<RpcAnswer | undefined> {
    return new Promise((resolve) => {
      const gone = (): void => this.#cancel(request.id);
      const settle: Pending['settle'] = (answer) => {
        signal.removeEventListener('abort', gone);
        resolve(answer);
      };
      this.#pending.set(request.id, { ...from, settle });
      signal.addEventListener('abort', gone, { once: true });
      this.#transport.onmessage?.(request);
      if (isAborted(signal)) gone();
    });
  }

  /** The answer to a request that was cancelled never comes. */
  #cancel(requestId: RequestId): void {
    const pending = this.#pending.get(requestId);
    if (pending === undefined) return;
    this.#pending.delete(requestId);
    this.#transport.onmessage?.({
      jsonrpc: '2.0',
      method: 'notifications/cancelled',
      params: { requestId },
    });
    pending.settle(undefined);
  }

  #notified(method: unknown, params: unknown, session: string): void {
    if (method !== 'notifications/cancelled' || !isObject(params)) return;
    for (const [internal, pending] of this.#pending) {
      if (pending.session === session && pending.id === params['requestId']) this.#cancel(internal);
    }
  }

  #send(message: JSONRPCMessage): void {
    if ('method' in message || message.id === undefined) return;
    const pending = this.#pending.get(message.id);
    if (pending === undefined) return;
    this.#pending.delete(message.id);
    const { id } = pending;
    pending.settle(
      'result' in message
        ? { jsonrpc: '2.0', id, result: message.result }
        : errorAnswer(id, message.error.code, message.error.message),
    );
  }

  async #handle(
    { method, params }: JSONRPCRequest,
    signal: AbortSignal,
  ): Promise<Record<string, unknown>> {
    switch (method) {
      case 'tools/list':
        return { tools: listTools() };
      case 'tools/call':
        return this.#call(params ?? {}, signal);
      case 'logging/setLevel':
        throw new RpcError(INTERNAL_ERROR, 'session does not support setting logging level');
      case 'resources/list':
        throw new RpcError(METHOD_NOT_FOUND, 'resources not supported');
      case 'prompts/list':
        throw new RpcError(METHOD_NOT_FOUND, 'prompts not supported');
      default:
        throw new RpcError(METHOD_NOT_FOUND, `Method ${method} not found`);
    }
  }

  async #call(
    { name, arguments: given }: Readonly<Record<string, unknown>>,
    signal: AbortSignal,
  ): Promise<ToolResult> {
    const wanted = typeof name === 'string' ? name : '';
    const tool = tools.find((one) => one.name === wanted);
    if (tool === undefined) {
      throw new RpcError(INVALID_PARAMS, `tool '${wanted}' not found: tool not found`);
    }
    return this.#callTool(tool, isObject(given) ? given : {}, signal);
  }
}
