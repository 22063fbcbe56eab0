// The purpose that was stated last in this login: one for a whole wall. It is kept in memory alone.
import { shallowRef, watch } from "vue";

import { me } from "./api";
import { wall } from "./wall";
import type { Purpose } from "./watching";

export const purposeOfLogin = shallowRef<Purpose>();

watch(
  () => me.value?.username,
  (now) => {
    purposeOfLogin.value = undefined;
    if (!now) wall.forget();
  },
);
