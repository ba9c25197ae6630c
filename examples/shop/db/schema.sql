CREATE TABLE orders (id serial PRIMARY KEY, item text NOT NULL CHECK (item <> ''), amount integer NOT NULL CHECK (amount > 0), at timestamptz NOT NULL DEFAULT now())
