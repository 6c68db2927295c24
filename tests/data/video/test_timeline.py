"""When pictures are shown: joined, edited, cut and oddly stored films made here; every frame carries its number."""

import fractions
import struct
import types

import numpy as np
import pytest

from jaxskill.data.video import decoding, timeline
from tests.data.video.test_decoding import number_of, shade
from tests.places import SHARED

av = pytest.importorskip("av")
FILMS = SHARED / "films"
RATE = 10


def film(path, count=30, *, codec="libx264", first=0, begin=0, bframes=2, form=None, size=(64, 48), gop=12, **fields):
  """`count` frames at ten a second, numbered from `first`, with time stamps from `begin` on."""
  with av.open(str(path), "w", format=form) as container:
    stream = add_stream(container, codec, size, **({} if codec == "mjpeg" else dict(bf=str(bframes), g=str(gop))))
    fill(container, stream, count, first, begin, **fields)
  return path


def add_stream(container, codec="libx264", size=(64, 48), **options):
  stream = container.add_stream(codec, rate=RATE, options=options)
  (stream.width, stream.height), stream.pix_fmt = size, "yuvj420p" if codec == "mjpeg" else "yuv420p"
  return stream


def fill(container, stream, count, first=0, begin=0, places=None):
  for number in range(count):
    image = np.full((stream.height, stream.width, 3), shade(first + number), np.uint8)
    frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=stream.pix_fmt)
    frame.pts = begin + (number if places is None else places[number])
    frame.time_base = fractions.Fraction(1, RATE)
    container.mux(stream.encode(frame))
  container.mux(stream.encode())


def shown(path, faults=None):
  """([numbers of the frames], [times])."""
  frames = list(decoding.decode(path, faults=faults))
  return [number_of(frame.image) for frame in frames], [frame.time for frame in frames]


def numbers(first, count):
  return [(number - 20) // 10 for number in map(shade, range(first, first + count))]


# Joined transport streams


@pytest.mark.parametrize("form", ["mpegts", "mpeg"])
@pytest.mark.parametrize("begins", [(0, 0), (0, 0, 0), (0, 50_000), (50_000, 0), (0, 3000, 100), (300, 310)])
def test_joined_files_are_one_film(tmp_path, form, begins):
  """Time stamps that begin anew, jump far forward or far back: every picture is used, one after the other."""
  codec = dict(mpegts={}, mpeg=dict(codec="mpeg2video", bframes=2, gop=12))[form]
  if form == "mpeg":
    if begins != (0, 0):
      pytest.skip("one form of joining is enough for program streams")
  joined = tmp_path / "joined.ts"
  with open(joined, "wb") as file:
    for number, begin in enumerate(begins):
      file.write(film(tmp_path / "part", 20, first=20 * number, begin=begin, form=form, **codec).read_bytes())
  found, times = shown(joined)
  read = timeline.read_timeline(joined)
  if form == "mpegts":
    assert found == numbers(0, 20 * len(begins))
  np.testing.assert_allclose(times, np.arange(20 * len(begins)) / RATE, atol=2e-3)
  assert read.seconds == read.announced == pytest.approx(2 * len(begins), abs=2e-3)
  warning, = read.warnings
  assert f"taken as {len(begins)} parts joined to one film of {2 * len(begins)}.00 s" in warning
  assert "first at 2.00 s" in warning


def test_one_time_stamp_that_is_wrong(tmp_path):
  path = tmp_path / "a.ts"
  places = np.arange(30)
  places[15:] += 1000
  film(tmp_path / "whole.ts", 30, places=places, bframes=0, form="mpegts").rename(path)
  found, times = shown(path)
  assert found == numbers(0, 30) and np.allclose(np.diff(times), 0.1, atol=2e-3)
  assert "jump 1 time, first at 1.50 s" in timeline.read_timeline(path).warnings[0]


def test_wrap_around_of_33_bits(tmp_path):
  """A transport stream counts 26.5 hours and begins again at 0; that is no join."""
  ticks = 90_000 // RATE
  path = film(tmp_path / "a.ts", 40, begin=(2**33 - 2 * 90_000) // ticks, form="mpegts")
  found, times = shown(path)
  assert found == numbers(0, 40) and np.allclose(times, np.arange(40) / RATE, atol=2e-3)
  read = timeline.read_timeline(path)
  assert not read.warnings and read.seconds == pytest.approx(4, abs=2e-3)
  twice = tmp_path / "twice.ts"
  twice.write_bytes(path.read_bytes() * 2)
  assert timeline.read_timeline(twice).seconds == pytest.approx(8, abs=2e-3) and len(shown(twice)[0]) == 80


def test_gap_in_a_broadcast(tmp_path):
  """A gap is time that passed: the picture before it stays, and it is said."""
  places = np.arange(30)
  places[12:] += 40
  path = film(tmp_path / "a.ts", 30, places=places, bframes=0, form="mpegts")
  found, times = shown(path)
  assert found == numbers(0, 30) and times[12] == pytest.approx(5.2, abs=2e-3)
  warning, = timeline.read_timeline(path).warnings
  assert "has no pictures from 1.20 to 5.20 s" in warning


@pytest.mark.parametrize("name,codec", [("a.mkv", "libx264"), ("a.webm", "libvpx-vp9"), ("a.mkv", "mpeg4")])
def test_joined_matroska(tmp_path, name, codec):
  path = film(tmp_path / name, 20, codec=codec)
  joined = tmp_path / f"joined{name}"
  joined.write_bytes(path.read_bytes() + film(tmp_path / f"b{name}", 20, codec=codec, first=20).read_bytes())
  found, times = shown(joined, faults := [])
  assert np.abs(np.subtract(found, numbers(0, 40))).max() <= (codec == "mpeg4") and not decoding.damage(faults)
  np.testing.assert_allclose(times, np.arange(40) / RATE, atol=2e-3)
  assert "taken as 2 parts joined to one film of" in timeline.read_timeline(joined).warnings[0]


@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
def test_joined_mp4(tmp_path, name):
  """No player shows the second film; that is said."""
  path = film(tmp_path / name, 20)
  path.write_bytes(path.read_bytes() * 2)
  warning, = timeline.read_timeline(path).warnings
  assert "a second film is joined on" in warning and shown(path)[0] == numbers(0, 20)


def fragmented(path, source):
  """Copies a film into an mp4 file of fragments, as cameras and streams write it."""
  with av.open(str(source)) as old, av.open(str(path), "w", options=dict(movflags="frag_keyframe+empty_moov")) as new:
    stream = new.add_stream_from_template(old.streams.video[0])
    for packet in old.demux(video=0):
      if packet.dts is not None:
        packet.stream = stream
        new.mux(packet)
  return path


@pytest.mark.parametrize("name,codec,words", [
    ("a.nut", "mpeg4", "what follows is damaged, or begins another film"), ("a.flv", "flv1", "begins another film"),
    ("a.ivf", "libvpx", "begins another film"), ("a.y4m", "wrapped_avframe", "begins another film"),
    ("a.mp4", "libx264", "only some of its pictures are read")])
def test_joined_films_that_are_not_read_whole(tmp_path, name, codec, words):
  """Formats of which FFmpeg reads the first part, or some of the second: that is said, and only then."""
  size = (320, 240)
  source = film(tmp_path / name, 20, codec=codec, bframes=0, size=size)
  if name == "a.mp4":
    source = fragmented(tmp_path / "fragments.mp4", source)
  assert not timeline.read_timeline(source).warnings and shown(source)[0] == numbers(0, 20)
  source.write_bytes(source.read_bytes() * 2)
  assert words in " ".join(timeline.read_timeline(source).warnings)


def test_times_that_cannot_be(tmp_path):
  """One damaged byte of a rate, or of a time, does not make a film of days."""
  path = film(tmp_path / "a.avi", 20, codec="mpeg4", bframes=0)
  content = bytearray(path.read_bytes())
  place = content.index(b"strh") + 8 + 20                      # scale and rate of the stream
  content[place: place + 4] = b"\xff\xff\xff\x7f"
  path.write_bytes(content)
  read = timeline.read_timeline(path)
  assert read.seconds == pytest.approx(20 / 25) and "its time stamps jump 19 times" in read.warnings[0]
  assert len(list(decoding.pictures(path))) == 20
  late = film(tmp_path / "late.mp4", 20, bframes=0, places=[400_000 * number for number in range(20)])
  with pytest.raises(decoding.VideoError, match="lasts 9 days by its time stamps; the file is damaged"):
    timeline.read_timeline(late)


@pytest.mark.parametrize("name,codec", [("a.y4m", "wrapped_avframe"), ("a.nut", "mpeg4"), ("a.mkv", "libx264"),
                                        ("a.avi", "mpeg4"), ("a.flv", "flv1"), ("a.asf", "wmv2"),
                                        ("a.wtv", "mpeg2video")])
@pytest.mark.parametrize("count", [2, 3])
def test_the_last_packet_may_be_large(tmp_path, name, codec, count):
  """Of a few pictures the last one is a good part of the file."""
  assert not timeline.read_timeline(film(tmp_path / name, count, codec=codec, bframes=0, size=(320, 240))).warnings


def test_parts_of_another_size(tmp_path):
  path = tmp_path / "a.ts"
  path.write_bytes(film(tmp_path / "1.ts", 20).read_bytes() + film(tmp_path / "2.ts", 20, size=(96, 64)).read_bytes())
  sizes = [picture.size for picture in decoding.pictures(path)]
  assert sizes == [(64, 48)] * 20 + [(96, 64)] * 20


def test_part_that_begins_another_stream(tmp_path):
  """What is not read is told: by the streams that are seen at first, or by where reading ends."""
  path, other = tmp_path / "a.ts", tmp_path / "b.ts"
  size = (320, 240)
  with av.open(str(other), "w", options=dict(mpegts_start_pid="300", mpegts_pmt_start_pid="500")) as container:
    fill(container, add_stream(container, size=size), 40)
  path.write_bytes(film(tmp_path / "1.ts", 30, size=size).read_bytes() + other.read_bytes())
  read = timeline.read_timeline(path)
  said = " ".join(read.warnings)
  assert "not 1 other film" in said or "is not read; cut the file into its parts" in said
  assert len(list(decoding.pictures(path))) == len(read.times) > 0


# Edit lists


def with_edit(path, out, edits, timescale=1000):
  """Replaces the edit list of an mp4 of one track by [(duration, start) in seconds]."""
  content = bytearray(path.read_bytes())

  def find(kind, begin=0):
    return content.index(kind, begin) - 4

  def box(kind, body):
    return struct.pack(">I4s", len(body) + 8, kind) + body
  movie = find(b"mvhd")
  scale, = struct.unpack_from(">I", content, movie + 20)
  media_scale, = struct.unpack_from(">I", content, find(b"mdhd") + 20)
  rows = b"".join(struct.pack(">iiHH", round(duration * scale), -1 if start < 0 else round(start * media_scale), 1, 0)
                  for duration, start in edits)
  new = box(b"edts", box(b"elst", struct.pack(">II", 0, len(edits)) + rows))
  start = find(b"edts") if b"edts" in content else find(b"mdia")
  size, = struct.unpack_from(">I", content, start)
  size = size if content[start + 4: start + 8] == b"edts" else 0
  for kind in (b"moov", b"trak"):                      # the index lies behind the data: no offset changes
    place = find(kind)
    old, = struct.unpack_from(">I", content, place)
    struct.pack_into(">I", content, place, old + len(new) - size)
  content[start: start + size] = new
  out.write_bytes(content)
  return out


@pytest.mark.parametrize("bframes", [0, 2])
@pytest.mark.parametrize("edits,expected", [
    ([(5.5, 0.5)], range(5, 60)), ([(5.0, 1.0)], range(10, 60)), ([(3.0, 0.0)], range(30)),
    ([(2.0, 2.5)], range(25, 45)),
    ([(2.0, 0.0), (2.0, 4.0)], [*range(20), *range(40, 60)]), ([(1.0, -1), (5.0, 1.0)], range(10, 60)),
    ([(2.0, 3.0), (2.0, 0.0)], [*range(30, 50), *range(20)])])
def test_edit_lists(tmp_path, edits, expected, bframes):
  """What a player shows, with nothing to say of it."""
  path = film(tmp_path / "whole.mp4", 60, bframes=bframes)
  delay = 0.1 * (bframes > 0)                          # of the first picture, for which the muxer wrote an edit list
  with av.open(str(path)) as container:
    packet = next(container.demux(video=0))
    delay = -float((packet.dts or 0) * packet.time_base)
  path = with_edit(path, tmp_path / "a.mp4", [(d, s if s < 0 else s + delay) for d, s in edits])
  faults, read = [], timeline.read_timeline(path)
  found, times = shown(path, faults)
  assert found == [number for k in expected for number in numbers(k, 1)]
  np.testing.assert_allclose(times, np.arange(len(expected)) / RATE, atol=5e-3)
  assert read.seconds == pytest.approx(len(expected) / RATE, abs=5e-3)
  assert not read.warnings and not decoding.damage(faults) and read.announced < read.seconds + 1.01


def test_edit_list_that_shows_nothing(tmp_path):
  """It begins behind the last picture, so that no frame has a time."""
  path = with_edit(film(tmp_path / "raw.mp4", bframes=0), tmp_path / "a.mp4", [(1, 50)])
  with pytest.raises(decoding.VideoError, match=r"a\.mp4: no picture of it is to be shown; convert it with ffmpeg first"):
    timeline.read_timeline(path)


# Order of pictures


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("bframes", [0, 1, 2, 3])
@pytest.mark.parametrize("gop", [5, 250])
def test_pictures_stored_out_of_order_in_avi(tmp_path, codec, bframes, gop):
  """AVI does not store when pictures are shown."""
  if codec == "mpeg4" and gop == 250:
    pytest.skip("the same as of the other codec")
  path = film(tmp_path / "a.avi", 40, codec=codec, bframes=bframes, gop=gop)
  found, times = shown(path)
  assert np.abs(np.subtract(found, numbers(0, 40))).max() <= (codec == "mpeg4")
  np.testing.assert_allclose(times, np.arange(40) / RATE, atol=2e-3)
  wanted = (np.arange(40) + 0.5) / RATE
  assert len({picture.number for picture in decoding.pictures_at(path, wanted)}) == 40
  assert not timeline.read_timeline(path).warnings


def test_dropped_pictures_in_avi(tmp_path):
  """A recorder that was too slow leaves places empty; the picture before stays there."""
  places = [*range(10), *range(15, 35)]
  path = film(tmp_path / "a.avi", 30, codec="mjpeg", places=places)
  found, times = shown(path)
  assert found == numbers(0, 30) and np.allclose(times, np.array(places) / RATE, atol=2e-3)


def test_lost_pictures_do_not_move_those_after_the_next_key_frame():
  read = timeline.Timeline(0, np.arange(40) / RATE, np.zeros(40, bool), True, 4.0, 4.0, RATE, ())
  clock, times = decoding._Clock(read), []
  for number in [*range(12), *range(15, 40)]:
    frame = types.SimpleNamespace(opaque=(number,), key_frame=number % 10 == 0, time=None)
    times.append(clock.read(frame))
  assert times == pytest.approx([*np.arange(17) / RATE, *np.arange(20, 40) / RATE])


@pytest.mark.parametrize("name,codec", [("a.h264", "libx264"), ("a.m4v", "mpeg4"), ("a.mjpeg", "mjpeg")])
def test_raw_streams(tmp_path, name, codec):
  path = film(tmp_path / name, 30, codec=codec, form=dict(libx264="h264", mpeg4="m4v", mjpeg="mjpeg")[codec])
  read = timeline.read_timeline(path)
  found, times = shown(path)
  assert np.abs(np.subtract(found, numbers(0, 30))).max() <= (codec == "mpeg4") and times == sorted(times)
  assert read.seconds == pytest.approx(times[-1] + times[1], rel=1e-3)
  assert np.allclose(np.diff(times), times[1])


# The beginning and the end


def can_copy():
  """Skips a test where PyAV loses what is written to a copy of a stream."""
  if int(av.__version__.split(".", maxsplit=1)[0]) < 15:
    pytest.skip("PyAV 14 does not copy streams")


def spoil(path, out, spoilt):
  """Copies a film; of the packets whose numbers are `spoilt` only zeros are left."""
  can_copy()
  with av.open(str(path)) as source, av.open(str(out), "w") as container:
    stream = container.add_stream_from_template(source.streams.video[0])
    for number, packet in enumerate(source.demux(video=0)):
      if packet.dts is not None:
        copy = av.Packet(bytes(packet.size) if number in spoilt else bytes(packet))
        copy.pts, copy.dts, copy.duration, copy.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
        copy.stream, copy.is_keyframe = stream, packet.is_keyframe
        container.mux(copy)
  return out


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_first_second_that_cannot_be_decoded(tmp_path, name):
  """Times stay those of the file, and it is said which part is missing."""
  path = spoil(film(tmp_path / "whole.mp4", 60, gop=10, bframes=0), tmp_path / name, range(10))
  found, times = shown(path, faults := [])
  assert timeline.read_timeline(path).seconds == pytest.approx(6, abs=0.11)
  assert found == numbers(10, 50) and np.allclose(times, np.arange(10, 60) / RATE, atol=2e-3)
  said = decoding.damage(faults)
  assert "damaged: the first 1.00 s cannot be decoded" in said[0] and "only the first" not in "".join(said)
  for at, expected in ((0.0, 1.0), (0.9, 1.0), (1.55, 1.5)):
    assert next(iter(decoding.pictures_at(path, [at]))).time == pytest.approx(expected, abs=2e-3)


def test_stream_that_begins_in_the_middle(tmp_path):
  """A broadcast that is cut anywhere begins with pictures that refer to others."""
  path = film(tmp_path / "a.ts", 60, gop=20, bframes=0, size=(160, 120), form="mpegts")
  with av.open(str(path)) as container:
    places = [packet.pos for packet in container.demux(video=0) if packet.pts is not None]
  content = path.read_bytes()
  (tmp_path / "b.ts").write_bytes(content[:3 * 188] + content[places[8]:])
  found, times = shown(tmp_path / "b.ts", faults := [])
  assert found == numbers(20, 40) and times[0] == pytest.approx(1.2, abs=0.11)
  assert "the first 1." in decoding.damage(faults)[0]
  assert timeline.read_timeline(tmp_path / "b.ts").seconds == pytest.approx(5.2, abs=0.11)


def test_long_last_picture(tmp_path):
  """The last picture stays as long as the file says."""
  can_copy()
  path = film(tmp_path / "a.mp4", 20, bframes=0)
  with av.open(str(path)) as source, av.open(str(tmp_path / "b.mp4"), "w") as container:
    stream = container.add_stream_from_template(source.streams.video[0])
    for packet in source.demux(video=0):
      if packet.dts is not None:
        packet.duration = round(3 / packet.time_base) if packet.pts * packet.time_base > 1.85 else packet.duration
        packet.stream = stream
        container.mux(packet)
  read = timeline.read_timeline(tmp_path / "b.mp4")
  assert read.seconds == pytest.approx(4.9, abs=0.01)
  assert len(list(decoding.pictures_at(tmp_path / "b.mp4", [0, 4.85]))) == 2


def test_sound_that_is_longer(tmp_path):
  """A video is not damaged because its sound goes on."""
  path = tmp_path / "a.mkv"
  with av.open(str(path), "w") as container:
    sound = container.add_stream("aac", rate=8000)
    fill(container, add_stream(container), 20)
    for number in range(40):
      frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
      frame.rate, frame.pts = 8000, 1024 * number
      container.mux(sound.encode(frame))
    container.mux(sound.encode())
  read = timeline.read_timeline(path)
  assert not read.warnings and read.seconds == pytest.approx(2, abs=0.11)


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
def test_missing_index(tmp_path, name, kept):
  content = film(tmp_path / name, 30).read_bytes()
  index = content.index(b"moov") - 4
  cut = tmp_path / f"cut.{name[2:]}"
  cut.write_bytes(content[: max(40, int(kept * index))] if kept < 0.9 else content[: int(kept * len(content))])
  with pytest.raises(decoding.VideoError, match=r"cut\.m.*: its index \(the part 'moov'\) is missing or cut off"):
    timeline.read_timeline(cut)


# Several streams


def streams_of(path, sizes, default=None, cover=None):
  """A film of several video streams, each (size, number of frames)."""
  from av.stream import Disposition
  with av.open(str(path), "w") as container:
    streams = [add_stream(container, "mjpeg" if number == cover else "libx264", size)
               for number, (size, _) in enumerate(sizes)]
    for number, stream in enumerate(streams):
      stream.disposition = (Disposition.attached_pic.value if number == cover else
                            Disposition.default.value if default in (None, number) else 0)
    for stream, (_, count) in zip(streams, sizes):
      fill(container, stream, count)
  return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
@pytest.mark.parametrize("sizes,options,taken,said", [
    ([((96, 64), 1), ((64, 48), 20)], {}, 1, "stream 1 (64 x 48), as a player does, and not a single picture"),
    ([((32, 32), 20), ((64, 48), 20)], {}, 1, "stream 1 (64 x 48), as a player does, and not 1 other film"),
    ([((64, 48), 20), ((32, 32), 20)], {}, 0, "stream 0 (64 x 48)"),
    ([((64, 48), 20), ((32, 32), 20)], dict(default=1), 1, "stream 1 (32 x 32)"),
    ([((96, 64), 1), ((64, 48), 20), ((80, 48), 20)], {}, 2, "not a single picture and 1 other film")])
def test_stream_that_a_player_takes(tmp_path, name, sizes, options, taken, said):
  path = streams_of(tmp_path / name, sizes, **options)
  read = timeline.read_timeline(path)
  assert read.stream == taken and said in read.warnings[0] and len(read.warnings) == 1
  found, _ = shown(path)
  assert found == numbers(0, 20) and read.seconds == pytest.approx(2, abs=0.11)
  assert next(decoding.pictures(path)).size == sizes[taken][0]


def test_cover_pictures(tmp_path):
  """Of a film it is left out; sound with a cover is no film."""
  path = streams_of(tmp_path / "a.mp4", [((96, 64), 1), ((64, 48), 20)], cover=0)
  read = timeline.read_timeline(path)
  assert read.seconds == pytest.approx(2, abs=0.11) and shown(path)[0] == numbers(0, 20)
  with av.open(str(tmp_path / "b.m4a"), "w", format="mp4") as container:
    from av.stream import Disposition
    sound = container.add_stream("aac", rate=8000)
    cover = add_stream(container, "mjpeg")
    cover.disposition = Disposition.attached_pic.value
    fill(container, cover, 1)
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
    frame.rate = 8000
    container.mux(sound.encode(frame))
    container.mux(sound.encode())
  with pytest.raises(decoding.VideoError, match="is sound with a cover picture, and no film"):
    timeline.read_timeline(tmp_path / "b.m4a")


@pytest.mark.skipif(not FILMS.is_dir(), reason=f"no films in {FILMS}: they are no part of the project")
@pytest.mark.parametrize("name,stream,seconds,count", [
    ("chaplin.mp4", 0, 9.64, 241), ("nasa_13013.mp4", 3, 13.013, 390), ("h265_10bits.mp4", 0, None, None),
    ("av1_video.mkv", 0, None, None), ("no_duration.webm", 0, None, None),
    ("video_with_failing_audio.mp4", 0, None, None)])
def test_real_films(name, stream, seconds, count):
  path = FILMS / name
  read, faults = timeline.read_timeline(path), []
  found = list(decoding.pictures(path, faults))
  assert read.stream == stream and not decoding.damage(faults)
  assert seconds is None or read.seconds == pytest.approx(seconds, abs=0.01) and len(found) == count
  times = [picture.time for picture in found]
  assert times[0] == 0 and np.all(np.diff(times) > 0) and times[-1] < read.seconds < times[-1] + 0.2
  assert len(times) == len(read.times)
