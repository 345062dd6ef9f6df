// What the demos of a new chat begin with: tools that this page runs by itself, and a JSON schema.

const MOST_DICE = 100;

export const TOOLS = [
  {
    type: "function",
    function: {
      name: "roll_dice",
      description: "Roll dice and tell what they show.",
      parameters: {
        type: "object",
        properties: { count: { type: "integer", minimum: 1, maximum: MOST_DICE }, sides: { type: "integer", minimum: 2, maximum: 1000 } },
        required: ["count", "sides"],
        additionalProperties: false,
      },
    },
  },
  {
    type: "function",
    function: {
      name: "current_time",
      description: "Tell the player's date and time.",
      parameters: { type: "object", properties: {}, additionalProperties: false },
    },
  },
];

const SCHEMA = {
  type: "object",
  properties: {
    name: { type: "string", maxLength: 40 },
    race: { enum: ["Nord", "Breton", "Khajiit", "Argonian", "Dunmer"] },
    age: { type: "integer", minimum: 18, maximum: 90 },
    secret: { type: "string", maxLength: 120 },
  },
  required: ["name", "race", "age", "secret"],
  additionalProperties: false,
};

/** What a new chat has for each demo, and what its first message could be. */
export const DEMOS = {
  tools: {
    title: "Demo: tools",
    system: "You are the keeper of a tavern. Roll the dice when a guest wants to gamble.",
    tools: "required",
    draft: "Roll two dice with six sides for me!",
  },
  json: {
    title: "Demo: JSON",
    system: "You invent characters for a fantasy game.",
    schema: JSON.stringify(SCHEMA, null, 2),
    draft: "Invent a guest of the tavern.",
  },
};

/** What a call of one of the tools comes to, as text for the model. `call` is OpenAI's. */
export function runTool(call) {
  try {
    const asked = JSON.parse(call.function.arguments || "{}");
    if (call.function.name === "roll_dice") return rollDice(asked);
    if (call.function.name === "current_time") return new Date().toString();
    return `There is no tool named ${call.function.name}.`;
  } catch (error) {
    return `The arguments cannot be read: ${error.message}`;
  }
}

function rollDice({ count, sides }) {
  if (!(count >= 1 && count <= MOST_DICE && sides >= 2)) return `Roll 1 to ${MOST_DICE} dice with 2 sides or more.`;
  const rolls = Array.from({ length: count }, () => 1 + Math.floor(Math.random() * sides));
  return JSON.stringify({ rolls, sum: rolls.reduce((sum, roll) => sum + roll, 0) });
}
