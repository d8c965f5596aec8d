/** The JSON schema for editors, made from the same schema that validates; profiles/doppel-profile.schema.json is its output. */
import * as z from 'zod';
import { profileSchema } from './schema.ts';

type Json = { [key: string]: unknown };

/** Draft 7, which the YAML language server reads. Every list may also be written as `key+`, and variables stand in for values. */
export function jsonSchema(): Json {
  const generated = z.toJSONSchema(profileSchema, { target: 'draft-7', io: 'input', reused: 'inline' }) as Json;
  const { $schema, ...rest } = generated;
  return { $schema, title: 'doppel profile', ...(widen(rest) as Json) };
}

/** The text of the committed file. */
export function jsonSchemaText(): string {
  return `${JSON.stringify(jsonSchema(), null, 2)}\n`;
}

const isJson = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);

function widen(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(widen);
  if (!isJson(schema)) return schema;
  const wide: Json = {};
  for (const [key, value] of Object.entries(schema))
    wide[key] = key === 'properties' ? widenProperties(value as Json) : widen(value);
  const { description, ...form } = wide;
  const isVariable = ['integer', 'number', 'boolean'].includes(String(form.type)) || Array.isArray(form.enum);
  if (!isVariable) return wide;
  const variable = { type: 'string', pattern: '\\{\\{.*\\}\\}' };
  return { ...(description === undefined ? {} : { description }), anyOf: [form, variable] };
}

function widenProperties(properties: Json): Json {
  const wide: Json = {};
  for (const [key, value] of Object.entries(properties)) {
    wide[key] = widen(value);
    if (isJson(value) && value.type === 'array') {
      wide[`${key}+`] = { ...(widen(value) as Json), description: `Appends to the "${key}" of the base profiles.` };
    }
  }
  return wide;
}
