"""Who is who where persons come near each other: by where each was going, and by the colors along its limbs.

What the landmark network sees in a square may be another person than before: one who passes in front is the larger one.
So of the person who is followed, and of everybody who comes near, place, velocity and colors are kept, and what is seen
is the person only if it fits the person better than everybody else. Where it does not, there is a gap, rather than
another person. Far apart the place decides, one behind the other the colors; of two who are dressed alike nothing is
known while they cannot be told apart, and afterwards the one who went on as the person did is taken.

All of this is ours. Colors are histograms of the three color channels along head, trunk, thighs and shanks: of two dark
suits the trunk alone tells nothing.

P parts, B levels of a color.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from jaxskill.data.video.decoding import Picture
from jaxskill.extract.pose import crops

# Pairs of landmarks, by their numbers, between which a part of the body lies: nose and ears; shoulders and hips, also
# across; hips and knees; knees and ankles.
PARTS = (((0, 7), (0, 8)), ((11, 23), (12, 24), (11, 24), (12, 23)), ((23, 25), (24, 26)), ((25, 27), (26, 28)))
NEAR = 3.0             # half heights of the person: who is farther away cannot be taken for it before the next look
WATCH = 0.2            # seconds from one look for others to the next, where nobody is near
FORGET = 2.0           # seconds after which who is not seen any more is forgotten
APART = 0.5            # half heights that two persons are apart; else it is one, found twice
_WITHIN = 2.0          # half heights from where one should be, within which it is found again
_LEVELS, _ALONG = 16, np.linspace(0.1, 0.9, 12)
_STEADY, _AHEAD = 0.2, 0.5     # seconds over which a velocity is averaged, and for which it is believed
_SPEED, _OFF = 5.0, 2.0        # half heights that anybody may be off that way: a second, and at most
_PLACE = 0.5           # what a half height beyond that counts, against colors, which are unlike by 0 to 1
_USUAL, _UNUSUAL = 0.1, 0.1    # how unlike its own colors a person is at first, and what is unusual beyond that
_SURE, _SURE_AGAIN = 0.05, 0.15          # by how much the person must fit better; one who was hidden, by place too
NEW, NEW_OF_OTHERS = 0.1, 0.3          # share of what is new in colors: others are seen less often


def colors_of(pixels: np.ndarray, shares: np.ndarray) -> np.ndarray:
  """Returns `[P, 3 * B]` histograms of the colors of a person, the square roots of their shares.

  Args:
    pixels: `[side, side, 3]` in [0, 255], of the square in which it is.
    shares: `[33, 2]` landmarks in shares of the square.
  """
  side, made = len(pixels), []
  for lines in PARTS:
    start, end = (shares[[line[k] for line in lines], None] for k in (0, 1))
    places = (start + _ALONG[:, None] * (end - start)).reshape(-1, 2)
    column, row = np.clip(np.nan_to_num(places) * side, 0, side - 1).astype(int).T
    levels = pixels[row, column].astype(int) * _LEVELS // 256 + _LEVELS * np.arange(3)
    counts = np.bincount(levels.ravel(), minlength=3 * _LEVELS).reshape(3, _LEVELS)
    spread = np.pad(counts, ((0, 0), (1, 1)), mode="edge")          # a level more or less is nearly the same color
    spread = (spread[:, :-2] + 2 * spread[:, 1:-1] + spread[:, 2:]).reshape(-1)
    made.append(np.sqrt(spread / spread.sum()))
  return np.stack(made)


def unlike(one: np.ndarray, other: np.ndarray) -> float:
  """Returns how unlike the colors of two persons are, from 0 to 1: one minus the Bhattacharyya coefficient."""
  return float(1 - (one * other).sum(axis=1).mean())


class Person:
  """What is known of one person.

  Attributes:
    place: `[2]` pixels, the middle of the hips; time: seconds when it was there.
    colors: see `colors_of`; None where they were not seen yet; colored: seconds when they were.
    usual: how unlike these colors it usually is.
    region: the square in which it is looked for.
  """

  def __init__(self, place: np.ndarray, time: float, region: crops.Region) -> None:
    self.place, self.time, self.region, self.colored, self.usual = place, time, region, -np.inf, _USUAL
    self.colors: np.ndarray | None = None
    self._velocity = np.zeros(2)

  def see(self, place: np.ndarray, time: float, region: crops.Region, colors: np.ndarray | None,
          new: float = NEW) -> None:
    """Takes note of where it is now, and of its colors; `new`: their share in those that are kept."""
    if time > self.time:
      share = 1 - np.exp((self.time - time) / _STEADY)
      self._velocity += share * ((place - self.place) / (time - self.time) - self._velocity)
    self.place, self.time, self.region = place, time, region
    if colors is None:
      return
    if self.colors is None:
      self.colors = colors
    self.usual += new * (unlike(colors, self.colors) - self.usual)
    self.colors = np.sqrt((1 - new) * self.colors ** 2 + new * colors ** 2)
    self.colored = time

  def away(self, place: np.ndarray, time: float) -> float:
    """Returns how many pixels a place is from where the person would be now."""
    return float(np.hypot(*(place - self.place - self._velocity * min(time - self.time, _AHEAD))))

  def beyond(self, place: np.ndarray, time: float, unit: float) -> float:
    """Returns the same in half heights, of `unit` pixels, beyond what the person may be off."""
    return max(0.0, self.away(place, time) / unit - min(_SPEED * (time - self.time), _OFF))


def margin(person: Person, other: Person, place: np.ndarray, colors: np.ndarray, time: float, unit: float) -> float:
  """Returns by how much what is seen fits a person better than another one; below 0 it fits the other one.

  Args:
    person: who is followed; colors that are unlike its own more than usual are another one's.
    other: somebody else.
    place: `[2]` pixels.
    colors: see `colors_of`.
    time: seconds.
    unit: half the person's height in pixels.
  """
  colors_apart = person.usual + _UNUSUAL
  if other.colors is not None:
    colors_apart = min(colors_apart, unlike(colors, other.colors))
  place_apart = other.beyond(place, time, unit) - person.beyond(place, time, unit)
  changed = 0.0 if person.colors is None else unlike(colors, person.colors)
  return colors_apart - changed + _PLACE * place_apart


class Others:
  """Everybody but the person who is followed, as far as they came near.

  Attributes:
    known: a `Person` each.
  """

  def __init__(self, read: Callable[[Picture, crops.Region], Any]) -> None:
    """
    Args:
      read: (picture, square) -> what the landmark network sees there, or None: `place` `[2]` pixels, `colors`, see
        `colors_of`, and `next_region`, the square in which to look in the next picture.
    """
    self.known: list[Person] = []
    self._read = read

  def are_near(self, person: Person, unit: float) -> bool:
    """Returns whether anybody is near enough to be taken for the person soon. `unit`: half its height in pixels."""
    return any(person.away(other.place, other.time) <= NEAR * unit for other in self.known)

  def forget(self, time: float) -> None:
    """Forgets who was not seen for long."""
    self.known = [other for other in self.known if time - other.time <= FORGET]

  def note(self, picture: Picture, found: Iterable[tuple[np.ndarray, crops.Region]], at: np.ndarray,
           unit: float) -> None:
    """Takes note of who is near the person.

    Args:
      picture: in which they are.
      found: (place, square) of everybody whom the detector found, the person too.
      at: the place of the person.
      unit: half its height in pixels.
    """
    for place, region in found:
      colors, apart = None, float(np.hypot(*(place - at))) / unit
      if not APART < apart <= NEAR:
        continue
      other = self._nearest(place, picture.time, region, unit)
      if picture.time - other.colored >= WATCH:
        seen = self._read(picture, region)
        if seen and np.hypot(*(seen.place - at)) > APART * unit:
          place, region, colors = seen.place, seen.next_region, seen.colors
      other.see(place, picture.time, region, colors, NEW_OF_OTHERS)

  def _nearest(self, place: np.ndarray, time: float, region: crops.Region, unit: float) -> Person:
    """Returns who is at a place, or went there; somebody new if nobody is within two half heights."""
    found = min(self.known, key=lambda other: other.away(place, time), default=None)
    if found is None or found.away(place, time) > _WITHIN * unit:
      found = Person(place, time, region)
      self.known.append(found)
    return found

  def is_person(self, picture: Picture, person: Person, seen: Any, unit: float, is_hidden: bool) -> bool:
    """Returns whether what is seen is the person; takes note of who it is, if somebody else.

    Args:
      picture: in which it is seen.
      person: who is followed.
      seen: what the landmark network says, see above.
      unit: half the person's height in pixels.
      is_hidden: whether somebody else was in its place before: then colors alone do not bring it back.
    """
    def margins() -> list[float]:
      return [margin(person, other, seen.place, seen.colors, picture.time, unit) for other in self.known]
    needed, found = _SURE_AGAIN if is_hidden else _SURE, margins()
    if min(found, default=np.inf) <= needed:
      self._look_for_others(picture, person, seen, unit)
      found = margins()
    if min(found, default=np.inf) > needed:
      return True
    if min(found) < -_SURE:
      other = self.known[int(np.argmin(found))]
      other.see(seen.place, picture.time, seen.next_region, seen.colors, NEW_OF_OTHERS)
    return False

  def _look_for_others(self, picture: Picture, person: Person, seen: Any, unit: float) -> None:
    """Looks where others were who were not found in this picture: who is seen elsewhere is not seen here."""
    for other in self.known:
      there = self._read(picture, other.region) if other.time < picture.time else None
      if there is None or other.colors is None or np.hypot(*(there.place - seen.place)) <= APART * unit:
        continue
      is_other = margin(person, other, there.place, there.colors, picture.time, unit) < 0
      if is_other and unlike(there.colors, other.colors) <= other.usual + _UNUSUAL:
        other.see(there.place, picture.time, there.next_region, there.colors, NEW_OF_OTHERS)
