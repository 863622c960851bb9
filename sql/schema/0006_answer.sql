/*
Answers that may be used again, of models with reuse_answers. The key stands for everything that shaped the answer (model, messages,
parameters: 120 bits of a digest), the answer is JSON. Written in the turn that writes the value made from it, never changed;
what is here was usable. The index is what makes a look-up a matter of the answers asked for, not of those kept.
*/

create table state.answer (
  answer_key hugeint primary key,
  answer varchar not null
);
