/** Calls of C functions on the thread pool, any number of them: koffi refuses when 256 are under way, so the others wait here. */

/** The asynchronous form of a function that koffi has made. */
export interface ForeignFunction {
  async(...argumentsAndCallback: unknown[]): void;
}

/** More than the pool has threads. */
const MOST = 64;
let underWay = 0;
const waiting: (() => void)[] = [];

/** What `result` makes of the function's value; it runs right behind the call, so that errno is still the call's. */
export async function callOnPool<V, T>(foreign: ForeignFunction, args: readonly unknown[], result: (value: V) => T): Promise<T> {
  if (underWay === MOST) await new Promise<void>((resolve) => waiting.push(resolve));
  else underWay++;
  try {
    return await new Promise<T>((resolve, reject) => {
      foreign.async(...args, (error: Error | null, value: V) => {
        try {
          if (error) throw error;
          resolve(result(value));
        } catch (reason) {
          reject(reason);
        }
      });
    });
  } finally {
    const next = waiting.shift();
    if (next === undefined) underWay--;
    else next();
  }
}
