// What went wrong, in words for the person in front of the page: what it is, and what to do about it.

import { ApiError } from "./api.js";
import { RoomError } from "./signalling.js";

const problem = (code, title, ...advice) => ({ code, title, advice });

const MICROPHONE = {
  NotAllowedError: problem(
    "microphone-denied",
    "The microphone is blocked",
    "Click the icon at the left end of the address bar, set Microphone to “Allow”, and press Call again.",
    "If it is allowed there, look in your system's privacy settings: the browser itself may be shut out.",
  ),
  NotFoundError: problem(
    "microphone-missing",
    "No microphone was found",
    "Plug one in or switch your headset on, check that the system sees it, and press Call again.",
  ),
  NotReadableError: problem(
    "microphone-busy",
    "The microphone cannot be opened",
    "Another program may be holding it. Close other calls and recorders, and press Call again.",
  ),
};

export const insecure = () =>
  problem(
    "insecure",
    "This address cannot use the microphone",
    "Browsers give the microphone only to pages from https:// or from this very machine.",
    `Open http://localhost${location.port && `:${location.port}`} on the machine that runs the service, ` +
      "or put the service behind https.",
  );

export const microphone = (error) =>
  MICROPHONE[error.name] ??
  problem("microphone-failed", "The microphone did not start", "Check that it works in another program, and press Call again.");

export const agentLeft = () =>
  problem("agent-left", "The agent left the room", "You can bring it back, or hang up.");

export const noSound = () =>
  problem(
    "no-sound",
    "The agent is here, but its sound does not get through",
    "A firewall or VPN between you and the service may be blocking UDP. Try another network, or ask for a TURN server.",
  );

const ROOM = {
  4001: problem("room-refused", "The room server refused this page", "Reload the page and press Call again."),
  4003: problem("room-refused", "This room is not open to you", "Try another room name."),
  4010: problem("room-full", "The room server is full", "Too many people are connected. Try again in a minute."),
  4012: problem("room-refused", "The room server's account is suspended", "Tell the person who runs this service."),
  4020: problem("sent-away", "You were disconnected by an administrator", "Press Call to come back, if you may."),
};

export const roomLost = (code) =>
  ROOM[code] ??
  problem(
    "room-unreachable",
    "The room server cannot be reached",
    "Check your network connection. If it is fine, the service may have stopped: try again in a moment.",
  );

function fromApi(error) {
  switch (error.code) {
    case "unreachable":
      return problem(
        "service-unreachable",
        "The service does not answer",
        "It may have stopped, or your network may be down. Start it again, and press Call.",
      );
    case "no_capacity":
      return problem("no-capacity", "Every agent is busy", error.message, "Try again in a little while.");
    case "too_many_requests":
      return problem("too-many", "That was a bit fast", error.message);
    case "invalid_request":
    case "unknown_persona":
      return problem("refused", "The service did not accept this", error.message);
    default:
      return problem("agent-refused", "The agent could not come", error.message);
  }
}

export function fromError(error) {
  if (error instanceof ApiError) return fromApi(error);
  if (error instanceof RoomError) return roomLost(error.code);
  console.error(error);
  return problem("bug", "Something went wrong on this page", "Reload the page and try again.");
}
