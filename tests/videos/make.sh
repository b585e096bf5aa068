#!/usr/bin/env bash
# Makes the videos of this folder, of kinds that PyAV does not write, and expected.json: how bright ffmpeg itself decodes each frame.
# Needs ffmpeg with libxvid, libtheora and libaom (Debian's has all). Frame i is grey, 6 * i of 255, so that it tells its number.
set -eu
cd "$(dirname "$0")"
grey() { echo "color=black:s=64x32:r=25:d=1.6,format=yuv420p,geq=lum='16+6*219/255*$1':cb=128:cr=128"; }
make() { ffmpeg -v error -y -nostdin -f lavfi -i "$(grey "${number:-N}")" -fflags +bitexact -flags:v +bitexact "$@"; }
sound=(-f lavfi -i "sine=d=1.6:r=16000")

make -c:v libxvid -bf 2 -g 300 -q:v 2 xvid_packed.avi # each B-frame in the packet of the frame before it
make -c:v libxvid -bf 2 -g 8 -q:v 2 xvid_packed_gop8.avi
make -c:v libxvid -bf 0 -g 8 -q:v 2 xvid.avi
make -c:v libtheora -g 8 -q:v 10 theora.ogv
make -c:v libtheora -g 8 -q:v 10 theora.mkv
number="floor(N/5)*5" make -c:v libtheora -g 12 -q:v 10 theora_repeats.ogv # a packet without data repeats a frame
make "${sound[@]}" -c:v mpeg2video -bf 2 -g 8 -q:v 2 -c:a mp2 -b:a 32k sound.mpg
make "${sound[@]}" -c:v mpeg2video -bf 2 -g 8 -q:v 2 -c:a ac3 -b:a 32k sound.vob
make "${sound[@]}" -c:v libx264 -bf 2 -g 8 -qp 4 -c:a mp2 -b:a 32k -muxdelay 0 sound.ts
make -c:v libaom-av1 -cpu-used 8 -lag-in-frames 19 -crf 5 -g 16 av1.mkv
for pass in 1 2; do # waves make the encoder add frames that are not shown
  number="(N*.75+3.3+4*sin((X+N)*PI/16)*sin((Y-N)*PI/8))" make -c:v libvpx -auto-alt-ref 1 -lag-in-frames 16 \
    -arnr-maxframes 5 -b:v 200k -pass $pass -passlogfile pass vp8_invisible_frames.webm
done
for pass in 1 2; do # a packet shows a frame that an earlier one held
  number="(N*.75+3.3+4*sin((X+N)*PI/16)*sin((Y-N)*PI/8))" make -c:v libvpx-vp9 -auto-alt-ref 6 -lag-in-frames 25 \
    -b:v 200k -pass $pass -passlogfile pass vp9_shows_kept_frames.webm
done
rm pass*
make -c:v libx264 -x264opts intra-refresh=1:keyint=10 -bf 0 -qp 4 intra_refresh.mp4
make -c:v libx264 -x264opts open-gop=1:keyint=8:min-keyint=8:scenecut=0 -bf 2 -qp 4 open_gop.mp4
ffmpeg -v error -y -nostdin -ss 0.9 -i open_gop.mp4 -c copy -fflags +bitexact cut_without_encoding.mkv
tail -c +4001 sound.ts > begins_within_a_gop.ts

python3 - *.avi *.mkv *.mp4 *.mpg *.ogv *.ts *.vob *.webm > expected.json <<'PYTHON'
import json, subprocess, sys
decode = "ffmpeg -v error -nostdin -i {} -map 0:V:0 -fps_mode passthrough -vf scale=1:1 -pix_fmt rgb24 -f rawvideo -"
levels = {name: subprocess.run(decode.format(name).split(), capture_output=True, check=True).stdout[::3] for name in sys.argv[1:]}
print(json.dumps({name: list(each) for name, each in levels.items()}).replace("], ", "],\n "))
PYTHON
