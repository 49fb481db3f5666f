/** What an editor shows for each key of a map: a text, and the keys of what lies below. */
export type DescriptionsOf<T> = { readonly [K in keyof T]-?: DescriptionOf<NonNullable<T[K]>> };

type DescriptionOf<T> = T extends string | number | boolean | readonly string[]
  ? string
  : {
      readonly about: string;
      readonly keys: DescriptionsOf<T extends readonly (infer Item)[] ? NonNullable<Item> : T>;
    };
