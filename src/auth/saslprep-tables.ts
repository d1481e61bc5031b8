/**
 * The character tables of RFC 3454 that SASLprep (RFC 4013) names; data of Unicode 3.2, which the RFC fixes for
 * good.
 * Shape: ranges in rising order, parted by spaces. `a` is one code point, `a-b` the range from `a` to `a + b`;
 * `a` counts from the start of the range before it. All in base 36.
 */

/** C.1.2: spaces that become U+0020. */
export const nonAsciiSpaces = '4g 4bk 1vk-b 1b 1c 335';

/** B.1: characters that vanish. */
export const mappedToNothing = '4t iq 43b 5-2 1kw-2 2d 17s0-f 73';

/** C.1.2 to C.9 together: characters that no prepared string may hold. */
export const prohibited =
  '0-v 3j-x jl-1 pp 1e 31t b2 1ki-f 14-7 1j-4 b-5 32e-b g yrk-4xr 5w0-v 8f 6y-6 15dm-7 96z-1 1ekg-1 ' +
  '1ekg-1 1ekg-1 1ekg-1 1ekg-1 1ekg-1 1ekg-1 1ekg-1 1ekg-1 1ekg-1 1ekg-1 1ekg-1 3 v-2n 1eji-2t4x';

/** A.1: code points without a character in Unicode 3.2. */
export const unassigned =
  'f5 j-r 3e-1 1t-g 2p-f w-3 6-3 5-2 4-4 c 2 l 19 14-8 40 20 13-1 4-5 m-w 1z-1 9 14 3-5 n o b-a 12-4 ' +
  'a-m o-d f-2 4 r-4 r-9 48-1 h f v-2 u-1g 2v-9a 9e 1i-1 k-1 7-2 s-f j 9-1 4-1 o 8 2-2 7-1 3 8-1 4-1 ' +
  '5-8 a-3 6 6-1 n-6 8-1 8-3 6-1 o 8 3 3 3-1 3 6-3 6-1 5-a f 2-6 m-b f 8 2 4 n 8 3 6-1 c 4 4-1 3-e g-4 ' +
  'f-g k 9-1 4-1 o 8 3-1 6-1 a-2 5-1 5-7 a-3 6 4-3 f-g j 7-2 6 5-2 5 2 3-2 5-2 6-2 b 4-3 9-2 6 5-8 a-e ' +
  'r-d h 9 4 o b 6-3 b 4 5-6 9-8 b-3 e-h k 9 4 o b 6-3 b 4 5-6 9-6 8 3-3 e-h k 9 4 o h-3 a-1 5 5-8 a-7 ' +
  'a-3 e-h k j-2 r a 2-1 9-2 4-3 a 2 9-h l-b 1y-3 x-10 13 2-1 4 2-1 3-5 a 8 4 2 2-1 4 e 4-1 7 2 7-1 ' +
  'c-1 4-x 2y z-5 x-3 c 11 g-1 3-1b 2a 6 3 8-2 7-5 w-1x 30-9 1f-1 3-3 2m-4 21-4 2f-5 d 1s 2 5-1 9 2 ' +
  '5-1 15 2 5-1 x 2 5-1 9 2 5-1 9 8 o w 2 5-1 9 14 k-5 y-y 3c-b hu-8 12-2 2c-e s 8-a y-8 t-b p 4 3-b ' +
  '2x-2 d-l 11 b-5 2m-7 1e-11x 16a-3 2m-5 s-1 8-1 14-1 8-1 a 2 2 2 w-1 1j g f-1 8 k-1 5 a 2c-3 5-6 c-5 ' +
  'e-1 t-g z-t 1l-k 28-1 h-6 1k-b gb-1c 2g-o 10-k 50 7p-1 4 2u-1 c-3a 3f 5-1 u 10 2 5-2 4 8-1 1i-2 r ' +
  'f-g 19-3 lw-ov pm 2i-b 6a-p 12-3 1w 2f-1 2x-4 19-3 2q 15-1j 2t-2 13-c 1k-2 28-3 1f 3c-3 2v-1 x ' +
  '52v-21 g6o-2h yv-2 1m-1fc a1p-2j 6tm-1 1p-44 4c-b h-4 v 6 2 3 3 31-w b2-f 28-1 1k-7 1h-2 j-f k-b ' +
  'z-1 c k 5-3 9 3s-1 3 5b-2 9-1 8-1 8-1 5-2 a 8-9 h-lb m7 5-b 13-50 63-1 14-148h 14fc-9 1d-2 53-f5 hj ' +
  '20 3-1 3-1 4-1 6 d 2 5 3 1u 5-1 a 8 t 5 6 2-2 a 9f-3 86-3 1i-7wd 14uv-g14 gg7-15r 15u-1ekd ' +
  '1ekg-1ekd 1ekg-1ekd 1ekg-1ekd 1ekg-1ekd 1ekg-1ekd 1ekg-1ekd 1ekg-1ekd 1ekg-1ekd 1ekg-1ekd 1ekg-1ekd ' +
  '1ekg 2-t 3i-1egt';

/** D.1: characters written from right to left. */
export const rightToLeft =
  '14u 2 3 d-q w-4 17 4 2-p v-a 19-2 4-2s 30 8-1 l-4 6-d g 2-q 32-11 1d 4ta 179q 2-9 b-c e-4 6 2-1 3-1 ' +
  '3-2z 3x-a2 al-1r 1u-1h 2m-c 3k-4 6-3q';

/** D.2: characters written from left to right. */
export const leftToRight =
  '1t-p w-p 21 b 5 6-m o-u w-88 8a-h 1a-2l 2o-8 b-6 l-1 g-4 e 3w c 2-2 4 2-j l-17 19-11 1c-3m 3u-1w ' +
  '1y-11 14-1 8-f 1d-11 14-6 8-12 14 oq 2-1g 1k-3 c-3 7 8-9 c-c u-1 3-7 a-1 4-l n-6 8 4-3 8-2 9-1 4-1 ' +
  'c 5-1 3-2 7-b e-6 h-5 a-1 4-l n-6 8-1 3-1 3-1 6-2 r-3 5 8-9 c-2 h 2-6 8 2-2 4-l n-6 8-1 3-4 8-3 c ' +
  '2-1 5 g 6-9 s-1 3-7 a-1 4-l n-6 8-1 4-3 7-1 3 7-1 4-1 c 5-1 3-2 7-a t 2-5 9-2 4-3 7-1 3 2-1 5-1 5-2 ' +
  '6-7 9-2 7-1 3-1 5-2 4-2 d g-b q-2 4-7 9-2 4-m o-9 b-4 c-3 v-1 6-9 s-1 3-7 9-2 4-m o-9 b-4 9 2-4 7-1 ' +
  '3-1 b-1 9 2-1 6-9 s-1 3-7 9-2 4-m o-f k-2 8-2 4-2 d 9-1 6-9 s-1 3-h l-n p-8 a 3-6 f-2 9-7 q-2 f-1b ' +
  '1d-1 e-6 f-c 1e-1 3 3-1 3 3 7-3 5-6 8-2 4 2 3-1 3-3 5-1 b 3-4 6 a-9 c-1 10-n q-q s 2 6-9 b-x 1i 6 ' +
  '3-3 1i-7 9-5 8 1d-x z-4 6-1 3 5 7 8-n 2o-11 1c-14 17 5-2h 2n-1v 21-29 2g-6 8-1q 1s 2-3 6-6 8 2-3 ' +
  '6-12 14 2-3 6-u w 2-3 6-6 8 2-3 6-6 8-6 8-m o-u w 2-3 6-6 8-12 14-i p-r 1r-2c 2p-hh hs-p v-28 2o-c ' +
  'e-3 i-h l-1 b-h w-c e-2 i-1i 1q-7 9-1 d-6 8 4-9 1c-9 g-2f 2o-14 134-4b 4g-2h 2o-l o-5 8-11 14-5 8-7 ' +
  '9 2 2 2-u x-1g 1i-6 8 4-2 4-6 a-3 6-5 a-c i-2 4-6 o 2r e 3n 5 3-9 b 4-4 b 2 2 2-3 5-2 4-6 a-2 8-4 ' +
  'r-z d2-1w 2n 7b-25 295-2 s-8 g-4 7-4 9-2d 2k-2 4-2h 2j-3 9-13 18-2l 2n-13 2o-18 1c-z 1s-r v-1d 1t-b ' +
  'g-1a 1c-3a 3f-2q 2t-u w-52t 54w-g4l g74-wc 2dc-8mb a9s-565 568-1m 5s-6 j-4 su-p w-p 11-2g 2k-5 8-5 ' +
  '8-5 8-2 me-u w-3 g-q 5s-11 14-11 149k-6t 74-12 16-1o 1s-8 p-1 9-t y-1b gi-2c 2e-1y 20-1 4 3-1 4-3 ' +
  '5-b d 2-3 5-1 3-1s 1u-3 6-7 9-6 8-r t-3 5-4 6 4-6 8-9d 9i-81 860-wye 1czk-f1 gwe8-1ekd 1ekg-1ekd';
